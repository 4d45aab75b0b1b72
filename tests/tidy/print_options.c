/* Every option of the schema, a line each, with what the manual must say of it. Tabs between:
 * scope (or "socket"), name, type, default ("Required", "No default" or "Default X"), bounds ("" if
 * none), and "live" or "restart". */
#include <stdio.h>

#include "lib/schema.h"

int main(void)
{
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        struct buf type, bounds;
        buf_init(&type, 256);
        buf_init(&bounds, 256);
        option_print_type(o, &type);
        option_print_bounds(o, &bounds);
        const char *type_words = buf_cstr(&type), *bounds_words = buf_cstr(&bounds);
        if (type_words == NULL || bounds_words == NULL)
            return 1;
        const char *none = o->required ? "Required" : "No default";
        const char *section = o->kind == KIND_SOCKET ? "socket" : scope_name(o->scope);
        printf("%s\t%s\t%s\t%s%s\t%s\t%s\n", section, o->name, type_words,
               o->fallback != NULL ? "Default " : none, o->fallback != NULL ? o->fallback : "",
               bounds_words, o->restart ? "restart" : "live");
        buf_release(&type);
        buf_release(&bounds);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
