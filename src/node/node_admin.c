#include "node/node_internal.h"
enum status node_admin_open(struct node *node, struct error *error)
{
    return STATUS_OK;
}
void node_admin_close(struct node *node)
{
}
