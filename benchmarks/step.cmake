cop_add_bench(step_bench step_bench.c LIBS cop_model)
