/* What a salvage tells people: what can be read, what is kept, what may be missing. */
#include <stdarg.h>
#include <stdio.h>

#include "node/salvage_internal.h"

enum { SAY_SIZE_MAX = 2048 };

void salvage_say(const struct salvage *salvage, const char *format, ...)
{
    char text[SAY_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    salvage->platform->say(salvage->platform->context, text);
}

static void report_log(const struct salvage *salvage)
{
    const struct log_salvage *log = &salvage->log;

    salvage_say(salvage, "log        %llu batches can be read", (unsigned long long)log->batches);
    if (log->gaps == 0 && log->bytes_unreadable == 0 && !log->mark_lost) {
        salvage_say(salvage, ", none is missing\n");
        return;
    }
    salvage_say(salvage, ", %llu are missing; %llu bytes belong to none\n",
                (unsigned long long)log->batches_missing,
                (unsigned long long)log->bytes_unreadable);
    if (log->gaps > 0)
        salvage_say(salvage, "           first gap: %s offset %llu\n", log->first_gap,
                    (unsigned long long)log->first_gap_offset);
    if (log->mark_lost)
        salvage_say(salvage,
                    "           its mark is lost: how many batches there were is not known\n");
}

static void report_groups(const struct salvage *salvage)
{
    const struct cluster_view *view = &salvage->view;

    salvage_say(salvage,
                "\n  group  slots          kept up to   seen up to  what may be missing\n");
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct salvage_group *group = &salvage->groups[g];
        if (group->to.value == 0) continue;
        salvage_say(salvage, "  %5u  ", g);
        if (g == GROUP_META)
            salvage_say(salvage, "%-13s", "meta");
        else
            salvage_say(salvage, "%5u - %5u", view->groups[g].slot_first,
                        view->groups[g].slot_last);
        salvage_say(salvage, "  %11llu  %11llu  ", (unsigned long long)group->last,
                    (unsigned long long)group->seen);
        if (!group->here)
            salvage_say(salvage, "everything: no replica of it is in this directory\n");
        else if (group->last == 0 && group->seen > 0)
            salvage_say(salvage, "everything\n");
        else if (group->seen > group->last)
            salvage_say(salvage, "at least %llu writes\n",
                        (unsigned long long)(group->seen - group->last));
        else if (salvage->log.gaps > 0 || salvage->log.mark_lost)
            salvage_say(salvage,
                        "nothing that can be seen; writes in the missing batches, if any\n");
        else if (salvage->majority_lost)
            salvage_say(salvage, "writes that other nodes had and this one had not heard of\n");
        else
            salvage_say(salvage, "nothing\n");
    }
}

void salvage_report(const struct salvage *salvage)
{
    const struct cluster_view *view = &salvage->view;

    salvage_say(salvage, "directory  %s, node %s of %u\n", salvage->data, salvage->identity.name,
                view->node_count);
    if (salvage->identity_lost) salvage_say(salvage, "identity   damaged: told by table and log\n");
    report_log(salvage);
    for (uint32_t i = 0; i < salvage->identity.stores; i++)
        if (salvage->stores_lost >> i & 1)
            salvage_say(salvage, "store %-4u damaged: its rows are lost\n", i);
    report_groups(salvage);
    if (salvage->majority_lost)
        salvage_say(
            salvage,
            "\nThis node becomes the only voter of all %u groups, in a cluster with a new id: the "
            "other\nnodes must never be started again with the data they have. They may join "
            "with empty\ndirectories, and are filled.\n",
            view->group_count);
    salvage_say(salvage,
                "\n%u groups lose something that is known. Old files are kept in %s/quarantine.\n",
                salvage->incomplete, salvage->data);
}

void salvage_report_power(const struct salvage *salvage)
{
    const struct cluster_view *view = &salvage->view;

    salvage_say(salvage, "directory  %s, node %s of %u\n", salvage->data, salvage->identity.name,
                view->node_count);
    report_log(salvage);
    salvage_say(salvage, "\n  group  slots          kept up to\n");
    for (uint32_t g = GROUP_DATA_FIRST; g < view->group_count; g++)
        if (salvage->groups[g].here)
            salvage_say(salvage, "  %5u  %5u - %5u  %11llu\n", g, view->groups[g].slot_first,
                        view->groups[g].slot_last, (unsigned long long)salvage->groups[g].last);
    salvage_say(
        salvage,
        "\nThis machine lost power while a database had durability memory. Its replicas stay out, since "
        "they may\nhave forgotten what they acknowledged; nothing else is wrong with them. If the others "
        "have kept it they\nare filled by them: start the node, without this command. If too few have, "
        "this command takes them\nback in as they are: run it on all nodes that lost power, then start "
        "them together; of each group the\nlongest log among them counts. What may be missing then: "
        "the last writes (about %d ms) before the power\nwas lost, of databases with durability "
        "memory. All others are whole.\n",
        LOG_LAZY_SYNC_US / 1000);
}
