cop_add_bench(importance_bench importance_bench.c LIBS cop_prune)
cop_add_bench(slice_bench slice_bench.c LIBS cop_prune)
cop_add_bench(resident_bench resident_bench.c LIBS cop_prune)
