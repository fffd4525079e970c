#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/distill/fixture.h"
#include "tests/guarded/guarded.h"

enum { SEQUENCE = 16, BATCH = 4, STEPS = 4 };

typedef struct outcome {
    double *parameters;
    int64_t count;
    cop_trainer_step step[STEPS];
    int64_t waits[STEPS]; // until the end of each step
    int steps;
} outcome;

static cop_status remember(void *context, const cop_trainer_step *step, cop_error *err)
{
    outcome *out = context;
    (void)err;
    assert_true(out->steps < STEPS);
    out->waits[out->steps] = guarded_waits;
    out->step[out->steps++] = *step;
    return COP_OK;
}

static outcome train(cop_precision precision, bool with_states, bool on_cpu)
{
    const fixture_options from = {
        .family = COP_FAMILY_LLAMA,
        .hidden = 24,
        .layers = 2,
        .precision = precision,
        .teacher_batch = BATCH,
        .sequence = SEQUENCE,
    };
    outcome out = {0};
    fixture_set set;
    cop_error err = {0};
    cop_trainer *trainer = NULL;
    cop_trainer_options options = cop_trainer_options_default();

    guarded_is_off = on_cpu;
    fixture_open(&set, "step", &from);
    options.batch = BATCH;
    options.micro_batch = BATCH / 2;
    options.sequence = SEQUENCE;
    options.seed = 5;
    options.ce_weight = 0.25;
    options.schedule = (cop_schedule){COP_SCHEDULE_COSINE, 1e-2, 1e-3, 2, STEPS};
    if (with_states) {
        options.micro_batch = BATCH;
        options.state_pairs = 2;
        options.state_pair[0] = (cop_state_pair){-1, -1};
        options.state_pair[1] = (cop_state_pair){1, 0};
    }
    const cop_arch arch = small_arch(COP_FAMILY_LLAMA, 16, 2);
    cop_network *student =
        make_student(set.backend, &arch, precision, options.micro_batch, SEQUENCE, 21);
    must(
        cop_trainer_create(&trainer, student, set.sampler, &set.teacher, set.model, &options, &err),
        &err);
    must(cop_trainer_run(trainer, STEPS, remember, &out, &err), &err);
    assert_int_equal(out.steps, STEPS);
    out.parameters = read_parameters(student, &out.count);
    cop_trainer_destroy(trainer);
    cop_network_destroy(student);
    fixture_close(&set);
    guarded_is_off = false;
    return out;
}

static void training_gives_the_bits_of_the_cpu_and_waits_once_a_step(void **state)
{
    (void)state;
    const cop_precision precisions[] = {COP_PRECISION_F32, COP_PRECISION_BF16};
    for (int i = 0; i < 4; i++) {
        const bool with_states = i % 2 == 1;
        outcome cpu = train(precisions[i / 2], with_states, true);
        outcome guarded = train(precisions[i / 2], with_states, false);
        assert_int_equal(cpu.count, guarded.count);
        assert_memory_equal(cpu.parameters, guarded.parameters,
                            (size_t)cpu.count * sizeof *cpu.parameters);
        for (int s = 0; s < STEPS; s++) {
            assert_true(cpu.step[s].loss == guarded.step[s].loss);
            assert_true(cpu.step[s].kl == guarded.step[s].kl);
            assert_true(cpu.step[s].gradient_norm == guarded.step[s].gradient_norm);
            assert_true(!with_states || cpu.step[s].state_loss == guarded.step[s].state_loss);
            assert_true(s == 0 || guarded.waits[s] - guarded.waits[s - 1] == 1);
        }
        cop_free(cpu.parameters);
        cop_free(guarded.parameters);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_gives_the_bits_of_the_cpu_and_waits_once_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
