cop_add_bench(evaluator_bench evaluator_bench.c LIBS cop_search)
