/* logformats.h - the lines of well-known logs, taken apart.
 *
 * logformat_parse gives the fields of one line, in the order of logformat_names; false when the
 * line is not of that format, and then the values mean nothing. A value is a part of the line, as
 * written: escapes inside quotes stay. A value that is not there, or is the "-" that says so, has
 * p NULL. One pass, no allocation, and a bounded look ahead: the cost goes with the length.
 *
 *   common_log      host ident authuser datetime request response bytes. Apache's common log
 *                   format. A quote inside the request may be escaped (\"), or not, when neither a
 *                   blank nor the line's end follows it. Text behind the bytes is passed over.
 *   combined_log    the same, and referer agent; nginx's too.
 *   apache_error    timestamp module severity processid threadid client message. Apache's error
 *                   log since 2.0: module, process, thread and client may be missing. Where an
 *                   error number stands before the client, it stays in the message, and the client
 *                   does too.
 *   syslog          timestamp hostname program processid message pri. RFC 3164, with or without the
 *                   <pri> in front; the time as "Nov 23 05:06:07", or as RFC 3339 writes it (what
 *                   rsyslog does today). Without a hostname too, as programs write to a local
 *                   socket: then the first word is the program, and ends in a colon. A program is a
 *                   word that ends in ": " or "[...]"; without one, all that is left is the
 *                   message.
 *   syslog_rfc5424  pri version timestamp hostname app_name procid msgid structured_data msg. The
 *                   structured data is checked, and is one text, with its brackets; the byte-order
 *                   mark in front of msg is taken off.
 */
#ifndef LIB_LOGFORMATS_H
#define LIB_LOGFORMATS_H

#include "lib/base.h"

#define LOGFORMAT_FIELDS_MAX 9

enum logformat {
    LOGFORMAT_COMMON,
    LOGFORMAT_COMBINED,
    LOGFORMAT_APACHE_ERROR,
    LOGFORMAT_SYSLOG,
    LOGFORMAT_SYSLOG_RFC5424,
};
#define LOGFORMATS_N 5

const char *const *logformat_names(enum logformat f, size_t *n);
bool logformat_parse(enum logformat f, struct str line, struct str *values);

#endif
