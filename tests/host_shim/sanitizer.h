// Says whether AddressSanitizer is compiled in: COP_HAS_ASAN is 1 or 0. Valid in C and C++.

#ifndef COP_TESTS_HOST_SHIM_SANITIZER_H
#define COP_TESTS_HOST_SHIM_SANITIZER_H

#ifdef __SANITIZE_ADDRESS__
#    define COP_HAS_ASAN 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define COP_HAS_ASAN 1
#    endif
#endif
#ifndef COP_HAS_ASAN
#    define COP_HAS_ASAN 0
#endif

#if COP_HAS_ASAN
#    include <sanitizer/common_interface_defs.h>
#endif

#endif
