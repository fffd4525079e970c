cop_add_bench(front_bench front_bench.c LIBS cop_search)
