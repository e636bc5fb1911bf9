#include "cluster/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "name=value" of a text of such parts. */
struct label {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

/* The next part; false at the end. A part without '=' has a value of no address. */
static bool label_next(const char **text, struct label *ret_label)
{
    const char *at = *text;

    if (*at == '\0') return false;
    size_t size = strcspn(at, ",");
    const char *equal = memchr(at, '=', size);
    *ret_label = (struct label){.name = at, .name_size = equal ? (size_t)(equal - at) : size};
    if (equal != NULL) {
        ret_label->value = equal + 1;
        ret_label->value_size = size - ret_label->name_size - 1;
    }
    *text = at + size + (at[size] == ',');
    return true;
}

static bool text_is(const char *text, size_t size, const char *also)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool usual = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("._-", c) != NULL;
        if (c == '\0' || (!usual && strchr(also, c) == NULL)) return false;
    }
    return true;
}

static bool is_named(const struct label *label, const char *name)
{
    return label->name_size == strlen(name) && memcmp(label->name, name, label->name_size) == 0;
}

static enum status label_check(const struct label *label, struct error *error)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ/:";
    static const struct {
        const char *name;
        unsigned long min, max;
    } numbers[] = {{"weight", 1, LABEL_WEIGHT_MAX}, {"leaders", 0, LABEL_LEADERS_MAX}};

    if (label->value == NULL)
        return error_set(error, STATUS_INVALID,
                         "label '%.*s' has no value: write name=value, or "
                         "name= to take it away",
                         (int)label->name_size, label->name);
    bool fits = label->name_size > 0 && label->name_size < LABEL_NAME_SIZE_MAX &&
                label->value_size < LABEL_VALUE_SIZE_MAX &&
                text_is(label->name, label->name_size, "") &&
                text_is(label->value, label->value_size, capitals);
    if (!fits)
        return error_set(error, STATUS_INVALID,
                         "label '%.*s' cannot be: a name is 1 to %d of a-z 0-9 . _ -, a value up "
                         "to %d of these, A-Z / and :",
                         (int)label->name_size, label->name, LABEL_NAME_SIZE_MAX - 1,
                         LABEL_VALUE_SIZE_MAX - 1);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        char text[LABEL_VALUE_SIZE_MAX] = "", *end;
        if (!is_named(label, numbers[i].name) || label->value_size == 0) continue;
        memcpy(text, label->value, label->value_size);
        unsigned long number = strtoul(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < numbers[i].min ||
            number > numbers[i].max)
            return error_set(error, STATUS_INVALID, "label %s is a number from %lu to %lu, not %s",
                             numbers[i].name, numbers[i].min, numbers[i].max, text);
    }
    return STATUS_OK;
}

static int name_compare(const struct label *a, const struct label *b)
{
    size_t size = a->name_size < b->name_size ? a->name_size : b->name_size;
    int order = memcmp(a->name, b->name, size);

    return order != 0 ? order : (a->name_size > b->name_size) - (a->name_size < b->name_size);
}

/* `labels` without the name of `label`, and with it in its place unless its value is empty. False:
 * no room. */
static bool label_put(char labels[LABELS_SIZE_MAX], const struct label *label)
{
    char changed[LABELS_SIZE_MAX];
    const char *rest = labels;
    struct label old, out[2];
    bool placed = label->value_size == 0;
    size_t used = 0;

    for (bool more = true; more;) {
        size_t count = 0;
        more = label_next(&rest, &old);
        int order = more ? name_compare(label, &old) : -1;
        if (order <= 0 && !placed) out[count++] = *label;
        placed |= order <= 0;
        if (more && order != 0) out[count++] = old;
        for (size_t i = 0; i < count; i++) {
            size_t left = sizeof(changed) - used;
            int size =
                snprintf(changed + used, left, "%s%.*s=%.*s", used ? "," : "",
                         (int)out[i].name_size, out[i].name, (int)out[i].value_size, out[i].value);
            if (size < 0 || (size_t)size >= left) return false;
            used += (size_t)size;
        }
    }
    changed[used] = '\0';
    memcpy(labels, changed, used + 1);
    return true;
}

enum status labels_change(char labels[LABELS_SIZE_MAX], const char *change, struct error *error)
{
    char changed[LABELS_SIZE_MAX];
    struct label label;

    snprintf(changed, sizeof(changed), "%s", labels);
    while (label_next(&change, &label)) {
        enum status status = label_check(&label, error);
        if (status) return status;
        if (!label_put(changed, &label))
            return error_set(error, STATUS_INVALID,
                             "the labels of a node are at most %d bytes together: take some away",
                             LABELS_SIZE_MAX - 1);
    }
    memcpy(labels, changed, sizeof(changed));
    return STATUS_OK;
}

bool labels_get(const char *labels, const char *name, char ret_value[LABEL_VALUE_SIZE_MAX])
{
    struct label label;

    ret_value[0] = '\0';
    while (label_next(&labels, &label)) {
        if (!is_named(&label, name) || label.value_size >= LABEL_VALUE_SIZE_MAX) continue;
        if (label.value_size) memcpy(ret_value, label.value, label.value_size);
        ret_value[label.value_size] = '\0';
        return true;
    }
    return false;
}

uint32_t labels_number(const char *labels, const char *name, uint32_t usual)
{
    char value[LABEL_VALUE_SIZE_MAX];

    return labels_get(labels, name, value) ? (uint32_t)strtoul(value, NULL, 10) : usual;
}
