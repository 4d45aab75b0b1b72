/* config_parts.h - what the files of config.c share; nobody else includes it.
 *
 * A section is one mapping of options of one scope: the document itself, one stream, one source,
 * one field. section_read gives every option of the scope its default, then reads what the mapping
 * holds, and complains of what is unknown, missing or wrong. Options whose value is no scalar are
 * left to the caller (section_key, yaml_get). `base` is the scope's struct, zeroed. The bits of the
 * rows that were wrong are returned, so that a rule between two options is not held against a wrong
 * one. A mapping file's section finds the defaults there, and may hold but some of a source's
 * options.
 *
 * template_build reads `record:` into spec->fields, add_build `add:` into spec->add; spec owns what
 * was built, also after a failure.
 */
#ifndef LIB_CONFIG_PARTS_H
#define LIB_CONFIG_PARTS_H

#include "lib/complaints.h"
#include "lib/config.h"
#include "lib/schema.h"
#include "lib/yaml.h"

#define WHERE_MAX 320

struct section {
    enum option_scope scope;
    char where[WHERE_MAX];    /* "streams.crimes.", or "" */
    const struct yaml *place; /* what to point at when something is missing */
    const struct yaml *mapping;
    bool is_mapping_file; /* of a source's options, what a mapping may hold */
};

uint64_t section_read(struct complaints *bad, const struct section *s, void *base);
void section_defaults(struct complaints *bad, enum option_scope scope, void *base);
uint64_t section_bit(enum option_scope scope, const char *name);
const struct yaml *section_key(const struct section *s, const char *name);
/* The section of the i-th entry of a mapping, one level down. False if it is no mapping. */
bool section_enter(struct complaints *bad, const struct section *from, const char *step,
                   const struct yaml *mapping, size_t i, struct section *to);

bool scalar_is_null(const struct yaml *y);
const char *kind_words(const struct yaml *y); /* "a mapping", ... */
char *text_copy(struct complaints *bad, const char *text);

/* A sequence of names, each once, such as columns; the option may be missing. */
void names_build(struct complaints *bad, const struct section *s, const char *option, size_t max,
                 char ***list, size_t *n);
bool names_equal(char *const *a, size_t a_n, char *const *b, size_t b_n);
void names_free(char **names, size_t n);

/* config_shape.c: what a source's records become. `s` is the source's section, or its mapping's;
 * `wrong` holds the bits of section_read. mapping_build reads the file that the source names,
 * mapping_read a document. */
void shape_build(struct complaints *bad, const struct section *s, uint64_t wrong,
                 struct config_source *source);
void mapping_build(struct complaints *bad, const struct config_files *files,
                   const struct section *s, struct config_source *source);
void mapping_read(struct complaints *bad, const struct yaml *document,
                  struct config_source *source);
void shape_release(struct config_source *source);

/* config_socket.c: what a source of the one kind may have, and the other may not; `allow`. */
void socket_build(struct complaints *bad, const struct section *s, uint64_t wrong,
                  struct config_source *source);
/* The i-th source against its stream and the stream's other sockets. */
void socket_check_stream(struct complaints *bad, const struct section *s, const struct config *c,
                         size_t i);
void socket_free(struct config_socket *socket);
bool allow_equal(const struct config_allow *a, const struct config_allow *b);

void template_build(struct complaints *bad, const struct section *source,
                    const struct yaml *mapping, struct shape_spec *spec);
void template_free(struct shape_field *fields, size_t n);
void add_build(struct complaints *bad, const struct section *source, const struct yaml *mapping,
               struct shape_spec *spec);
void add_free(struct shape_spec *spec);
bool add_equal(const struct shape_spec *a, const struct shape_spec *b);
bool template_equal(const struct shape_field *a, size_t a_n, const struct shape_field *b,
                    size_t b_n);

#endif
