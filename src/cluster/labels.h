/* labels.h - what an operator says of a node: "zone=a,rack=r1,weight=200", sorted by name, each
 * name once. Names are [a-z0-9._-], 1 to 31 bytes, values the same and also [A-Z/:], 1 to 63 bytes.
 * Names with a meaning (docs/reference/placement.md):
 *   zone, rack, host   failure domains, the widest first
 *   weight             share of replicas and leaderships, 1 to 10000; 100 if it is not said
 *   leaders            0 to 9: of the nodes that hold a partition those with the least lead it; 5
 * if it is not said Pure. Thread: any. */
#ifndef HOLON_CLUSTER_LABELS_H
#define HOLON_CLUSTER_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
    LABELS_SIZE_MAX = 256, /* text of all labels of a node, with the end */
    LABEL_NAME_SIZE_MAX = 32,
    LABEL_VALUE_SIZE_MAX = 64,
    LABEL_WEIGHT_USUAL = 100,
    LABEL_WEIGHT_MAX = 10000,
    LABEL_LEADERS_USUAL = 5,
    LABEL_LEADERS_MAX = 9,
};

/* `change`: "name=value,name=,..."; an empty value takes the label away. `labels` is changed as a
 * whole or, with STATUS_INVALID and a text that says what to write instead, not at all. */
enum status labels_change(char labels[LABELS_SIZE_MAX], const char *change, struct error *error);
/* False: there is none of that name. */
bool labels_get(const char *labels, const char *name, char ret_value[LABEL_VALUE_SIZE_MAX]);
/* Of labels that labels_change() made. */
uint32_t labels_number(const char *labels, const char *name, uint32_t usual);

#endif
