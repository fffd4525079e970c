#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

// Keeps a message one valid line: what a file or a user supplied may hold line ends and escape
// sequences, and a cut may fall into the middle of a character.
static void tidy(char *message, size_t wanted)
{
    size_t length = 0;
    for (; message[length] != '\0'; length++) {
        const unsigned char byte = (unsigned char)message[length];
        if (byte < 0x20 || byte == 0x7f) {
            message[length] = ' ';
        }
    }
    if (wanted > length) {
        while (length > 0 && ((unsigned char)message[length - 1] & 0xc0) == 0x80) {
            length--;
        }
        if (length > 0 && ((unsigned char)message[length - 1] & 0x80) != 0) {
            length--;
        }
        message[length] = '\0';
    }
}

cop_status cop_error_set(cop_error *err, cop_status status, const char *source_file,
                         int source_line, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        char text[COP_ERROR_MESSAGE_BYTES]; // an argument may be the old message
        const int wanted = vsnprintf(text, sizeof text, format, args);
        va_end(args);
        tidy(text, wanted < 0 ? 0 : (size_t)wanted);
        err->status = status;
        err->source_file = source_file;
        err->source_line = source_line;
        (void)snprintf(err->message, sizeof err->message, "%s", wanted < 0 ? format : text);
    }
    return status;
}

const char *cop_status_name(cop_status status)
{
    switch (status) {
    case COP_OK: return "ok";
    case COP_ERR_NOMEM: return "out of memory";
    case COP_ERR_IO: return "i/o error";
    case COP_ERR_FORMAT: return "bad format";
    case COP_ERR_CONFIG: return "bad setting";
    case COP_ERR_SHAPE: return "shape mismatch";
    case COP_ERR_UNSUPPORTED: return "unsupported";
    case COP_ERR_DEVICE: return "device error";
    }
    return "unknown status";
}
