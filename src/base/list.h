/* list.h - intrusive doubly linked list with a sentinel head. */
#ifndef HOLON_BASE_LIST_H
#define HOLON_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *previous;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->previous = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

/* Puts `item` before `at`; with the head as `at` this appends. */
static inline void list_insert_before(struct list *at, struct list *item)
{
    item->next = at;
    item->previous = at->previous;
    at->previous->next = item;
    at->previous = item;
}

/* Takes the item out and leaves it linked to itself, so that a second removal is harmless. */
static inline void list_remove(struct list *item)
{
    item->previous->next = item->next;
    item->next->previous = item->previous;
    list_init(item);
}

#endif
