// A run must need what its plan says: a training like a probe's runs in a process of its own, and its
// peak resident set is compared with the plan it made before it allocated.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/system.h"
#include "tests/distill/fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define IS_SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
        __has_feature(memory_sanitizer)
#        define IS_SANITIZED 1
#    endif
#endif
#ifndef IS_SANITIZED
#    define IS_SANITIZED 0
#endif

enum { SEQUENCE = 64, BATCH = 4, STEPS = 2, EXIT_BROKEN = 9 };

static const char *program; // this executable

static const char result_path[] = "memory-result";

// 17 million parameters: with masters, gradients and moments some 300 MB.
static cop_arch student_arch(void)
{
    cop_arch arch = small_arch(COP_FAMILY_LLAMA, 512, 5);
    arch.head_dim = 64;
    for (int64_t i = 0; i < arch.layers; i++) {
        arch.layer[i] = (cop_layer_arch){.heads = 8, .kv_heads = 4, .ffn = 1792};
    }
    return arch;
}

static cop_status plan_of(cop_plan *plan, const fixture_set *from, const cop_arch *arch,
                          const cop_network_options *network, const cop_trainer_options *options,
                          cop_error *err)
{
    const cop_arch *teacher = cop_checkpoint_arch(from->checkpoint);
    const cop_teacher_options teacher_options = {
        .precision = network->precision, .batch = BATCH, .sequence = SEQUENCE};
    cop_status status = COP_OK;
    COP_TRY(status, cop_network_plan(plan, "student", arch, network, from->backend, err));
    COP_TRY(status, cop_trainer_plan(plan, arch, network, options, teacher, from->backend, err));
    COP_TRY(status, cop_teacher_plan(plan, teacher, &teacher_options, false, from->backend, err));

done:
    return status;
}

// The child: trains and writes "plan peak" in bytes.
static int train(cop_precision precision)
{
    const cop_arch arch = student_arch();
    const fixture_options setting = {
        .family = COP_FAMILY_LLAMA,
        .hidden = 64,
        .layers = 2,
        .precision = precision,
        .teacher_batch = BATCH,
        .sequence = SEQUENCE,
    };
    const cop_network_options network = {
        .precision = precision, .batch = BATCH, .sequence = SEQUENCE, .is_training = true};
    cop_trainer_options options = cop_trainer_options_default();
    cop_error err = {0};
    cop_trainer *trainer = NULL;
    fixture_set from;
    cop_plan plan;
    char line[64];

    options.batch = options.micro_batch = BATCH;
    options.sequence = SEQUENCE;
    fixture_open(&from, "memory", &setting);
    cop_plan_init(&plan);
    must(plan_of(&plan, &from, &arch, &network, &options, &err), &err);
    cop_network *student = make_student(from.backend, &arch, precision, BATCH, SEQUENCE, 1);
    must(cop_trainer_create(&trainer, student, from.sampler, &from.teacher, from.model, &options,
                            &err),
         &err);
    must(cop_trainer_run(trainer, STEPS, NULL, NULL, &err), &err);
    must(cop_trainer_save(trainer, "memory-state", &err), &err);
    const int length =
        snprintf(line, sizeof line, "%llu %llu\n", (unsigned long long)cop_plan_total(&plan),
                 (unsigned long long)cop_system_resident_peak_bytes());
    must(cop_file_write(result_path, line, (size_t)length, &err), &err);
    cop_trainer_destroy(trainer);
    cop_network_destroy(student);
    fixture_close(&from);
    return 0;
}

static void run_child(const char *precision, double *plan, double *peak)
{
    cop_error err = {0};
    char *text = NULL;
    char *end = NULL;
    int code = -1;
    must(cop_file_remove_tree(result_path, &err), &err);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl(program, program, precision, (char *)NULL);
        _exit(EXIT_BROKEN);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    must(cop_file_read(&text, NULL, result_path, 4096, &err), &err);
    *plan = strtod(text, &end);
    *peak = strtod(end, NULL);
    cop_free(text);
    must(cop_file_remove_tree("memory-state", &err), &err);
}

static void peak_stays_within_a_tenth_of_the_plan(void **state)
{
    (void)state;
    if (IS_SANITIZED) { // shadow memory and quarantines count as resident
        skip();
    }
    const char *const precisions[] = {"f32", "bf16"};
    for (int i = 0; i < 2; i++) {
        double plan = 0.0;
        double peak = 0.0;
        run_child(precisions[i], &plan, &peak);
        assert_true(plan >= 300e6);
        // A tenth: pages of libraries and of the heap that no plan can know to the byte.
        assert_close(peak / plan, 1.0, 0.1);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(peak_stays_within_a_tenth_of_the_plan)};
    program = argv[0];
    if (argc == 2) {
        return train(strcmp(argv[1], "f32") == 0 ? COP_PRECISION_F32 : COP_PRECISION_BF16);
    }
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
