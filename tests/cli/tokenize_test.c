// tokenize: text to token files.

#include <stdio.h>
#include <string.h>

#include "tests/cli/program.h"
#include "tests/support.h"

static void turns_bytes_into_ids(void **state)
{
    (void)state;
    program_expect("rm -f *.bin *.json; printf 'ab' >a.txt; printf '\\377\\n' >b.txt; "
                   "$coppice tokenize a.txt b.txt --tokenizer byte -o ab.bin",
                   0, "ab.bin: 4 tokens, vocabulary 256", "");
    program_expect("od -An -tu2 ab.bin | tr -s ' '", 0, " 97 98 255 10", "");
    program_expect("cat ab.json", 0,
                   "*\"dtype\": \"uint16\",*\"tokens\": 4,*\"vocab\": 256,*\"tokenizer\": "
                   "\"byte\",*\"source\": \\[\"a.txt\", \"b.txt\"\\]*",
                   "");
}

static void reads_standard_input(void **state)
{
    (void)state;
    program_expect("rm -f in.*; printf 'xyz' | $coppice tokenize - --tokenizer byte -o in.bin "
                   "--json",
                   0,
                   "{\n*\"output\": \"in.bin\",\n*\"tokenizer\": \"byte\",\n*\"vocab\": "
                   "256,\n*\"tokens\": 3,\n*\"held_out\": null\n}",
                   "");
    program_expect("cat in.json", 0, "*\"source\": \\[\"standard input\"\\]*", "");
}

// What is held out and what is left make up the text; the same text splits the same way again.
static void splits_without_losing_a_byte(void **state)
{
    (void)state;
    program_expect("rm -f t* v*; seq 1 20000 >t.txt; "
                   "$coppice tokenize t.txt --tokenizer byte -o t.bin --held-out 0.1 "
                   "--held-out-output v.bin",
                   0,
                   "t.bin: * tokens, vocabulary 256\nv.bin: 108* tokens, held out in blocks of "
                   "340",
                   "");
    program_expect("echo $(( ($(wc -c <t.bin) + $(wc -c <v.bin)) / 2 - $(wc -c <t.txt) ))", 0, "0",
                   "");
    program_expect("sha256sum t.bin v.bin >before; "
                   "$coppice tokenize t.txt --tokenizer byte -o t.bin --held-out 0.1 "
                   "--held-out-output v.bin --force >again && sha256sum -c --quiet before",
                   0, "", "");
}

static void never_replaces_a_file_without_being_told(void **state)
{
    (void)state;
    program_expect("rm -f k.* old.*; printf 'abc' >k.txt; printf 'precious' >k.bin; "
                   "$coppice tokenize k.txt --tokenizer byte -o k.bin",
                   1, "", "coppice: k.bin: exists already (allowed: a new path, or --force)");
    program_expect("cat k.bin; rm k.bin; printf 'precious' >k.json; "
                   "$coppice tokenize k.txt --tokenizer byte -o k.bin",
                   1, "precious",
                   "coppice: k.json: exists already (allowed: a new path, or --force)");
    program_expect("cat k.json; test ! -e k.bin", 0, "precious", "");
    program_expect("$coppice tokenize k.txt --tokenizer byte -o k.bin --force", 0,
                   "k.bin: 3 tokens*", "");
}

static void leaves_nothing_behind_when_it_fails(void **state)
{
    (void)state;

    static const struct {
        const char *line;
        const char *err;
    } rows[] = {
        {"$coppice tokenize nowhere --tokenizer byte -o f.bin",
         "coppice: nowhere: cannot open: No such file or directory"},
        {"$coppice tokenize . --tokenizer byte -o f.bin",
         "coppice: .: is a directory (allowed: files, or - for standard input)"},
        {"$coppice tokenize /dev/null --tokenizer byte -o f.bin",
         "coppice: f.bin: the text is empty"},
        {"$coppice tokenize s.txt --tokenizer byte -o no/f.bin",
         "coppice: no/f.bin*: cannot create: No such file or directory"},
        {"$coppice tokenize s.txt --tokenizer tokenizer.json -o f.bin",
         "coppice: tokenizer.json: tokenizers other than byte are not supported yet (allowed: "
         "byte)"},
        {"$coppice tokenize s.txt --tokenizer byte -o f.bin --held-out 0.1 --held-out-output "
         "g.bin",
         "coppice: g.bin: a text of 6 bytes is too short to hold 0.1 of it out in blocks of 256"},
        {"$coppice tokenize s.txt --tokenizer byte -o f.bin --held-out 0.1 --held-out-output f",
         "coppice: f: --held-out-output would write over the file of -o (allowed: another file)"},
        {"seq 1 300000 >large.txt; ulimit -f 100; "
         "$coppice tokenize large.txt --tokenizer byte -o f.bin",
         "coppice: f.bin*: cannot write: File too large"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        program_expect("rm -f f* g* ; printf 'short\\n' >s.txt", 0, "", "");
        program_expect(rows[i].line, 1, "", rows[i].err);
        program_expect("ls f* g* 2>&1 | grep -v 'No such' | wc -l", 0, "0", "");
    }
}

static void explains_wrong_usage(void **state)
{
    (void)state;
    program_expect("$coppice tokenize --tokenizer byte -o x.bin", 2, "",
                   "coppice tokenize: TEXT is missing\n*");
    program_expect("$coppice tokenize a.txt -o x.bin", 2, "",
                   "coppice tokenize: --tokenizer is missing (allowed: byte)\n*");
    program_expect("$coppice tokenize a.txt --tokenizer byte", 2, "",
                   "coppice tokenize: -o FILE.bin is missing\n*");
    program_expect("$coppice tokenize a.txt --tokenizer byte -o x.bin --held-out 0.1", 2, "",
                   "coppice tokenize: --held-out and --held-out-output go together\n*");
    program_expect("$coppice tokenize a.txt --tokenizer byte -o x.bin --held-out 0.6 "
                   "--held-out-output y.bin",
                   2, "",
                   "coppice tokenize: --held-out is 0.6 (allowed: a number in 1e-06..0.5)\n*");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_bytes_into_ids),
        cmocka_unit_test(reads_standard_input),
        cmocka_unit_test(splits_without_losing_a_byte),
        cmocka_unit_test(never_replaces_a_file_without_being_told),
        cmocka_unit_test(leaves_nothing_behind_when_it_fails),
        cmocka_unit_test(explains_wrong_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
