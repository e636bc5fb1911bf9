/* holon dev - a whole cluster on one machine: a supervisor of `holon start` processes. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cli/commands.h"

enum {
    DEV_ARGUMENTS_MAX = 40,
    DEV_LINE_SIZE_MAX = 512,
    DEV_STOP_MAX_MS = 10000,
    DEV_SECOND_SIGNAL_MS = 500
};

enum port_kind { PORT_REDIS, PORT_REDIS_CLUSTER, PORT_PEER, PORT_ADMIN, PORT_KINDS };

static const char *const port_names[PORT_KINDS] = {"redis", "redis-cluster", "peer", "admin"};

struct dev_node {
    uint32_t index; /* from 1 */
    pid_t pid;      /* 0: not running */
    int output;     /* its standard output; -1: closed */
    char line[DEV_LINE_SIZE_MAX];
    size_t line_size;
    bool ready;
};

struct dev {
    const struct cli_options *options;
    struct dev_node nodes[DEV_NODES_MAX];
    uint32_t first, last; /* which of the nodes this process runs */
    int signals;
    bool stopping;
    uint64_t stop_began_ms;
    bool told_ready;
    bool any_failed;
};

static uint32_t dev_port(const struct dev *dev, uint32_t node, enum port_kind kind)
{
    return dev->options->base_port + node + 100 * (uint32_t)kind;
}

/* --- before anything starts ----------------------------------------------------------- */

static bool port_is_free(uint32_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) return true; /* the node will say what is wrong */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    bool free_port =
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != EADDRINUSE;
    close(fd);
    return free_port;
}

static bool dev_ports_are_free(const struct dev *dev)
{
    for (uint32_t i = dev->first; i <= dev->last; i++) {
        for (int kind = 0; kind < PORT_KINDS; kind++) {
            uint32_t port = dev_port(dev, i, (enum port_kind)kind);
            if (port_is_free(port)) continue;
            if (dev->options->dev_node != 0)
                fprintf(stderr,
                        "holon: error: n%u runs already: port %u (%s) is in use. `--node` brings "
                        "back a node that died\n",
                        i, port, port_names[kind]);
            else
                fprintf(stderr,
                        "holon: error: port %u (%s of n%u) is in use, perhaps by another `holon "
                        "dev`: stop that, or choose other ports with --base-port\n",
                        port, port_names[kind], i);
            return false;
        }
    }
    return true;
}

static bool make_directories(const char *path)
{
    char partial[1100];
    size_t size = strlen(path);

    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST) {
            fprintf(stderr,
                    "holon: error: cannot make the directory %s: %m; choose another "
                    "--data\n",
                    partial);
            return false;
        }
    }
    return true;
}

/* --- the children --------------------------------------------------------------------- */

struct arguments {
    char *words[DEV_ARGUMENTS_MAX];
    char text[DEV_ARGUMENTS_MAX][1100];
    uint32_t count;
};

__attribute__((format(printf, 2, 3))) static void add_argument(struct arguments *arguments,
                                                               const char *format, ...)
{
    va_list list;

    ASSERT(arguments->count + 1 < DEV_ARGUMENTS_MAX);
    char *text = arguments->text[arguments->count];
    va_start(list, format);
    vsnprintf(text, sizeof(arguments->text[0]), format, list);
    va_end(list);
    arguments->words[arguments->count++] = text;
    arguments->words[arguments->count] = NULL;
}

static uint32_t dev_workers(const struct cli_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (options->workers_given) return options->node.workers;
    if (cores <= (long)options->dev_nodes) return 1;
    return (uint32_t)cores / options->dev_nodes;
}

static void dev_arguments(const struct dev *dev, uint32_t index, struct arguments *arguments)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const struct cli_options *options = dev->options;
    char line[DEV_NODES_MAX * 32];
    size_t used = 0;

    arguments->count = 0;
    add_argument(arguments, "holon");
    add_argument(arguments, "start");
    add_argument(arguments, "--name=n%u", index);
    add_argument(arguments, "--data=%s/n%u", options->node.data, index);
    for (int kind = 0; kind < PORT_KINDS; kind++)
        add_argument(arguments, "--%s=127.0.0.1:%u", port_names[kind],
                     dev_port(dev, index, (enum port_kind)kind));
    for (uint32_t i = 1; i <= options->dev_nodes; i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%sn%u=127.0.0.1:%u",
                                 i > 1 ? "," : "", i, dev_port(dev, i, PORT_PEER));
    if (options->dev_nodes > 1) add_argument(arguments, "--cluster=%s", line);
    add_argument(arguments, "--workers=%u", dev_workers(options));
    add_argument(arguments, "--patience=%lluus", (unsigned long long)options->node.patience);
    uint64_t memory = options->node.memory;
    if (!options->memory_given) memory /= options->dev_nodes;
    add_argument(arguments, "--memory=%llu", (unsigned long long)memory);
    add_argument(arguments, "--max-connections=%u", options->node.max_connections);
    add_argument(arguments, "--max-connections-per-address=%u",
                 options->node.max_connections_per_address);
    add_argument(arguments, "--idle-timeout=%lluus",
                 (unsigned long long)options->node.idle_timeout);
    add_argument(arguments, "--request-timeout=%lluus",
                 (unsigned long long)options->node.request_timeout);
    add_argument(arguments, "--output-timeout=%lluus",
                 (unsigned long long)options->node.output_timeout);
    if (options->node.heavy_unbounded) add_argument(arguments, "--heavy-unbounded");
    add_argument(arguments, "--log-level=%s", levels[options->log_level]);
    if (options->node.partitions)
        add_argument(arguments, "--partitions=%u", options->node.partitions);
    if (options->node.replicas) add_argument(arguments, "--replicas=%u", options->node.replicas);
    if (options->node.reads_given)
        add_argument(arguments, "--reads=%s",
                     options->node.reads == READS_QUORUM ? "quorum" : "lease");
}

_Noreturn static void dev_exec(const struct dev *dev, uint32_t index, int output, pid_t parent)
{
    struct arguments *arguments = memory_allocate(sizeof(*arguments));
    char path[1200];
    sigset_t none;

    /* Nobody looks after the nodes once this process is gone. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(EXIT_CODE_FAILED);
    setpgid(0, 0); /* Ctrl-C comes to the supervisor alone, which ends the nodes in order */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    snprintf(path, sizeof(path), "%s/n%u/holon.log", dev->options->node.data, index);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (log >= 0) dup2(log, STDERR_FILENO);
    dup2(output, STDOUT_FILENO);
    dev_arguments(dev, index, arguments);
    execv("/proc/self/exe", arguments->words);
    fprintf(stderr, "holon: error: cannot run /proc/self/exe: %m\n");
    _exit(EXIT_CODE_FAILED);
}

static bool dev_start_node(struct dev *dev, uint32_t index)
{
    struct dev_node *node = &dev->nodes[index - 1];
    char directory[1100];
    int ends[2];

    snprintf(directory, sizeof(directory), "%s/n%u", dev->options->node.data, index);
    if (!make_directories(directory)) return false;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "holon: error: cannot make a pipe: %m\n");
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "holon: error: cannot start a process: %m\n");
        return false;
    }
    if (pid == 0) dev_exec(dev, index, ends[1], parent);
    close(ends[1]);
    *node = (struct dev_node){.index = index, .pid = pid, .output = ends[0]};
    return true;
}

/* --- what they say -------------------------------------------------------------------- */

static void dev_print_table(const struct dev *dev)
{
    printf("\n  node  redis            redis-cluster    peer             admin (web page)\n");
    for (uint32_t i = dev->first; i <= dev->last; i++) {
        printf("  n%-4u", i);
        for (int kind = 0; kind < PORT_KINDS; kind++)
            printf("127.0.0.1:%-7u", dev_port(dev, i, (enum port_kind)kind));
        printf("\n");
    }
    printf("\n  data and logs: %s/n*/holon.log\n  try: redis-cli -p %u set k v\n\n",
           dev->options->node.data, dev_port(dev, dev->first, PORT_REDIS));
}

static void dev_check_ready(struct dev *dev)
{
    if (dev->told_ready || dev->stopping) return;
    for (uint32_t i = dev->first; i <= dev->last; i++)
        if (!dev->nodes[i - 1].ready) return;
    dev->told_ready = true;
    dev_print_table(dev);
    if (dev->options->dev_node == 0)
        printf("holon: cluster ready\n");
    else
        printf("holon: n%u ready\n", dev->options->dev_node);
    fflush(stdout);
}

static void dev_take_line(struct dev *dev, struct dev_node *node)
{
    if (strncmp(node->line, "holon: ready", strlen("holon: ready")) == 0) {
        node->ready = true;
        dev_check_ready(dev);
        return;
    }
    printf("n%u: %s\n", node->index, node->line);
    fflush(stdout);
}

static void dev_read_output(struct dev *dev, struct dev_node *node)
{
    char bytes[512];
    ssize_t size = read(node->output, bytes, sizeof(bytes));

    if (size <= 0) {
        close(node->output);
        node->output = -1;
        return;
    }
    for (ssize_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            node->line[node->line_size] = '\0';
            dev_take_line(dev, node);
            node->line_size = 0;
        } else if (node->line_size + 1 < sizeof(node->line)) {
            node->line[node->line_size++] = bytes[i];
        }
    }
}

static void dev_report_death(struct dev *dev, const struct dev_node *node, int status)
{
    const struct cli_options *options = dev->options;

    if (WIFSIGNALED(status))
        printf("holon: n%u died of signal %d (%s)\n", node->index, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else
        printf("holon: n%u ended with code %d; the reason is at the end of %s/n%u/holon.log\n",
               node->index, WEXITSTATUS(status), options->node.data, node->index);
    printf("holon: it stays dead; to bring it back: holon dev --nodes %u --data %s --base-port %u "
           "--node %u\n",
           options->dev_nodes, options->node.data, options->base_port, node->index);
    fflush(stdout);
}

/* True while any node of ours runs. */
static bool dev_reap(struct dev *dev)
{
    bool any = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (uint32_t i = dev->first; i <= dev->last; i++) {
            struct dev_node *node = &dev->nodes[i - 1];
            if (node->pid != pid) continue;
            node->pid = 0;
            bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (!clean) dev->any_failed = true;
            if (!dev->stopping) dev_report_death(dev, node, status);
        }
    }
    for (uint32_t i = dev->first; i <= dev->last; i++)
        any |= dev->nodes[i - 1].pid != 0;
    return any;
}

static void dev_signal_all(const struct dev *dev, int signum)
{
    for (uint32_t i = dev->first; i <= dev->last; i++)
        if (dev->nodes[i - 1].pid != 0) kill(dev->nodes[i - 1].pid, signum);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void dev_on_signal(struct dev *dev)
{
    struct signalfd_siginfo info;

    if (read(dev->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) return;
    if (info.ssi_signo == SIGCHLD) return; /* reaped every turn */
    if (dev->stopping) {
        /* Some senders signal the process and its group: that is one wish, not two. */
        if (now_ms() - dev->stop_began_ms > DEV_SECOND_SIGNAL_MS) dev_signal_all(dev, SIGKILL);
        return;
    }
    dev->stopping = true;
    dev->stop_began_ms = now_ms();
    printf("holon: stopping all\n");
    fflush(stdout);
    dev_signal_all(dev, SIGTERM);
}

static int dev_supervise(struct dev *dev)
{
    while (dev_reap(dev)) {
        struct pollfd polls[DEV_NODES_MAX + 1] = {{.fd = dev->signals, .events = POLLIN}};
        for (uint32_t i = dev->first; i <= dev->last; i++)
            polls[i] = (struct pollfd){.fd = dev->nodes[i - 1].output, .events = POLLIN};
        for (uint32_t i = 1; i < dev->first; i++)
            polls[i].fd = -1;
        poll(polls, dev->last + 1, dev->stopping ? 100 : -1);
        for (uint32_t i = dev->first; i <= dev->last; i++)
            if (polls[i].revents != 0) dev_read_output(dev, &dev->nodes[i - 1]);
        if (polls[0].revents != 0) dev_on_signal(dev);
        if (!dev->stopping) continue;
        if (now_ms() - dev->stop_began_ms > DEV_STOP_MAX_MS) dev_signal_all(dev, SIGKILL);
    }
    return dev->any_failed ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

int command_dev(const struct cli_options *options)
{
    struct dev dev = {.options = options, .first = 1, .last = options->dev_nodes};
    sigset_t signals;

    if (options->dev_node > options->dev_nodes) {
        fprintf(stderr, "holon: error: --node %u, but the cluster has --nodes %u\n",
                options->dev_node, options->dev_nodes);
        return EXIT_CODE_USAGE;
    }
    if (options->dev_node != 0) dev.first = dev.last = options->dev_node;
    if (!dev_ports_are_free(&dev)) return EXIT_CODE_FAILED;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    dev.signals = signalfd(-1, &signals, SFD_CLOEXEC);
    if (dev.signals < 0) {
        fprintf(stderr, "holon: error: cannot watch signals: %m\n");
        return EXIT_CODE_FAILED;
    }
    for (uint32_t i = dev.first; i <= dev.last; i++) {
        if (dev_start_node(&dev, i)) continue;
        dev.stopping = true;
        dev.stop_began_ms = now_ms();
        dev_signal_all(&dev, SIGTERM);
        dev.any_failed = true;
        break;
    }
    int code = dev_supervise(&dev);
    close(dev.signals);
    return code;
}
