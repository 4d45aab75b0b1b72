/* list.h - an intrusive doubly linked ring of links, with a head that is itself a link.
 *
 * A link that is in no list points at itself (list_init); list_del leaves it so, and may be called
 * on it again. Nothing is allocated; the object that embeds the link owns itself.
 */
#ifndef LIB_LIST_H
#define LIB_LIST_H

#include "lib/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_del(struct list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

static inline void list_add_tail(struct list *head, struct list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

#define LIST_FIRST(head, type, member) CONTAINER_OF((head)->next, type, member)

/* Safe against removal of the current element; `save` is a struct list pointer. */
#define LIST_FOR(it, save, head)                                                                   \
    for (struct list *it = (head)->next, *save = it->next; it != (head);                           \
         it = save, save = it->next)

#endif
