cop_add_bench(step_bench step_bench.c LIBS cop_model)
cop_add_bench(curve_bench curve_bench.c LIBS cop_model)
