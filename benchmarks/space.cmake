cop_add_bench(space_bench space_bench.c LIBS cop_search)
