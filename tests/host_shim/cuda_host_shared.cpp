// Finds the static shared memory of the program, so that it can be poisoned before each block.
//
// `__shared__ float tile[16][17];` in a function f() becomes a static local, and beside it a mark
// (see cuda_host.h). The Itanium ABI names them _ZZ<f>E4tile and _ZZ<f>E<n>cop_cuda_shared_mark_<k>,
// for gcc and clang, templates and inline functions alike. So the symbol table of the program says
// it all: every static local of a function that holds a mark is shared memory.
//
// Limits: ELF64; symbols of the main program only (not of shared libraries); not after `strip`. A
// kernel has no other static locals, since CUDA allows none that are not const.

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/host_shim/cuda_host_internal.h"

namespace {

const char mark_name[] = "cop_cuda_shared_mark_";

struct region {
    unsigned char *start;
    size_t bytes;
};

region *regions; // found once, kept until the program ends
size_t region_count;
pthread_once_t search = PTHREAD_ONCE_INIT;

struct symbols {
    const Elf64_Sym *table;
    size_t count;
    const char *names;
};

} // namespace

// The address at which the main program was loaded; it is the first object visited.
static int load_address(struct dl_phdr_info *info, size_t info_bytes, void *address)
{
    (void)info_bytes;
    *static_cast<uintptr_t *>(address) = info->dlpi_addr;
    return 1;
}

// Length of the `_ZZ<f>E` that a mark shares with the variables it stands for; 0 for other names.
static size_t mark_scope_length(const char *name)
{
    const char *mark = strncmp(name, "_ZZ", 3) == 0 ? strstr(name, mark_name) : NULL;
    while (mark != NULL && mark > name && mark[-1] >= '0' && mark[-1] <= '9') {
        mark--; // the length that precedes the mark's own name
    }
    return mark == NULL ? 0 : static_cast<size_t>(mark - name);
}

// Whether `name` is a variable directly in that scope: a length digit follows.
static bool is_in_scope(const char *name, const char *scope, size_t scope_length)
{
    return strncmp(name, scope, scope_length) == 0 && name[scope_length] >= '0' &&
           name[scope_length] <= '9' && strstr(name + scope_length, mark_name) == NULL;
}

static bool is_variable(const Elf64_Sym *symbol)
{
    return ELF64_ST_TYPE(symbol->st_info) == STT_OBJECT && symbol->st_shndx != SHN_UNDEF &&
           symbol->st_size > 0;
}

// A function with several shared variables has several marks: each region is entered once.
static void region_add(unsigned char *start, size_t bytes)
{
    for (size_t i = 0; i < region_count; i++) {
        if (regions[i].start == start) {
            return;
        }
    }
    region *grown = static_cast<region *>(realloc(regions, (region_count + 1) * sizeof *regions));
    if (grown != NULL) {
        regions = grown;
        regions[region_count] = region{start, bytes};
        region_count++;
    }
}

static void regions_collect(const symbols *all, uintptr_t base)
{
    for (size_t m = 0; m < all->count; m++) {
        const char *scope = all->names + all->table[m].st_name;
        const size_t scope_length = is_variable(&all->table[m]) ? mark_scope_length(scope) : 0;
        for (size_t i = 0; scope_length > 0 && i < all->count; i++) {
            const Elf64_Sym *symbol = &all->table[i];
            if (is_variable(symbol) &&
                is_in_scope(all->names + symbol->st_name, scope, scope_length)) {
                const uintptr_t address = base + symbol->st_value;
                // NOLINTNEXTLINE(performance-no-int-to-ptr): an address read from a file
                region_add(reinterpret_cast<unsigned char *>(address), symbol->st_size);
            }
        }
    }
}

// Points *out at the symbol table in the mapped file. False when it has none.
static bool symbols_find(symbols *out, const unsigned char *file, size_t file_bytes)
{
    const Elf64_Ehdr *header = reinterpret_cast<const Elf64_Ehdr *>(file);
    if (file_bytes < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_shoff + header->e_shnum * sizeof(Elf64_Shdr) > file_bytes) {
        return false;
    }
    const Elf64_Shdr *sections = reinterpret_cast<const Elf64_Shdr *>(file + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < header->e_shnum) {
            out->table = reinterpret_cast<const Elf64_Sym *>(file + sections[i].sh_offset);
            out->count = sections[i].sh_size / sizeof(Elf64_Sym);
            const Elf64_Shdr *names = &sections[sections[i].sh_link];
            out->names = reinterpret_cast<const char *>(file + names->sh_offset);
            return true;
        }
    }
    return false;
}

static void regions_search(void)
{
    uintptr_t base = 0;
    struct stat status = {};
    symbols all = {};
    bool is_found = false;
    const int descriptor = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0 && fstat(descriptor, &status) == 0) {
        const size_t bytes = static_cast<size_t>(status.st_size);
        void *file = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (file != MAP_FAILED) {
            is_found = symbols_find(&all, static_cast<const unsigned char *>(file), bytes);
            if (is_found) {
                (void)dl_iterate_phdr(load_address, &base);
                regions_collect(&all, base);
            }
            (void)munmap(file, bytes);
        }
    }
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
    if (!is_found) {
        (void)fprintf(stderr, "cop_cuda_host: the program has no symbol table: static shared "
                              "memory is not poisoned\n");
    }
}

// Written byte by byte through a volatile pointer: with clang a symbol's size includes the
// sanitizer's red zone, which memset() would be reported for touching.
__attribute__((no_sanitize("address"))) static void region_fill(const region *at)
{
    volatile unsigned char *bytes = at->start;
    for (size_t i = 0; i < at->bytes; i++) {
        bytes[i] = 0xff;
    }
}

void cop_cuda_host_poison_static(void)
{
    (void)pthread_once(&search, regions_search);
    for (size_t i = 0; i < region_count; i++) {
        region_fill(&regions[i]);
    }
}
