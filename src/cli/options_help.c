/* What the table of options says to people: `holon help` and the page of the manual. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cli/options.h"
#include "partition/host.h"

struct option_text {
    const char *name, *argument, *default_text, *help;
    unsigned commands;
};

static const struct option_text options_table[] = {
#define OPTION(name_, argument_, kind_, field_, least_, most_, default_, commands_, help_)         \
    {.name = name_,                                                                                \
     .argument = argument_,                                                                        \
     .default_text = default_,                                                                     \
     .help = help_,                                                                                \
     .commands = commands_},
#include "cli/options.def"
#undef OPTION
};

static void print_wrapped(const char *text, int indent, int width)
{
    int column = indent;

    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        bool fits = column + 1 + (int)size <= width;
        if (column == indent) {
            column += (int)size;
        } else if (fits) {
            putchar(' ');
            column += 1 + (int)size;
        } else {
            printf("\n%*s", indent, "");
            column = indent + (int)size;
        }
        printf("%.*s", (int)size, text);
        text += size;
        text += *text == ' ';
    }
    putchar('\n');
}

void cli_options_print_help(enum cli_command command)
{
    for (size_t i = 0; i < ARRAY_COUNT(options_table); i++) {
        const struct option_text *option = &options_table[i];
        char head[64];
        char text[512];
        if (!(option->commands & command)) continue;
        const char *value = option->default_text;
        if (command == COMMAND_DEV && strcmp(option->name, "data") == 0) value = "data/dev";
        snprintf(head, sizeof(head), "--%s %s", option->name, option->argument);
        snprintf(text, sizeof(text), "%s%s%s%s", option->help, value[0] ? " [" : "", value,
                 value[0] ? "]" : "");
        printf("  %-28s ", head);
        print_wrapped(text, 31, 98);
    }
}

void cli_options_print_markdown(void)
{
    printf("| option | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < ARRAY_COUNT(options_table); i++) {
        const struct option_text *option = &options_table[i];
        if (!(option->commands & COMMAND_START)) continue;
        const char *value = option->argument[0] ? option->argument : "yes, no";
        if (strcmp(option->name, "reads") == 0)
            value = "lease, quorum"; /* a bar would end the cell */
        printf("| `%s` | %s | %s | %s |\n", option->name, value, option->default_text,
               option->help);
    }
}
