#include "cli/backup_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

void backup_secret_forget(struct backup_secret *secret)
{
    OPENSSL_cleanse(secret, sizeof(*secret));
}

static enum status take(struct backup_secret *secret, const char *text, size_t size,
                        const char *where, struct error *error)
{
    if (size == 0 || size >= SECRET_SIZE_MAX)
        return error_set(error, STATUS_INVALID, "%s: a passphrase has 1 to %d bytes", where,
                         SECRET_SIZE_MAX - 1);
    memcpy(secret->text, text, size);
    secret->text[size] = 0;
    secret->size = size;
    secret->given = true;
    return STATUS_OK;
}

static enum status read_file(const char *path, struct backup_secret *secret, struct error *error)
{
    char text[SECRET_SIZE_MAX + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t got = fd < 0 ? -1 : 1;

    while (got > 0 && size < sizeof(text)) {
        got = read(fd, text + size, sizeof(text) - size);
        if (got > 0) size += (size_t)got;
    }
    if (got < 0) {
        error_set(error, STATUS_IO, "cannot read the passphrase of %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return STATUS_IO;
    }
    close(fd);
    const char *end = memchr(text, '\n', size);
    if (end) size = (size_t)(end - text);
    if (size > 0 && text[size - 1] == '\r') size--;
    enum status status = take(secret, text, size, path, error);
    OPENSSL_cleanse(text, sizeof(text));
    return status;
}

enum status backup_secret_find(const char *file, struct backup_secret *ret_secret,
                               struct error *error)
{
    const char *variable = getenv(SECRET_VARIABLE);

    *ret_secret = (struct backup_secret){0};
    if (file[0]) return read_file(file, ret_secret, error);
    if (variable == NULL || variable[0] == 0) return STATUS_OK;
    return take(ret_secret, variable, strlen(variable), SECRET_VARIABLE, error);
}

/* Those that would end the process wait, and end it when the terminal is as it was. */
static int hold_signals(sigset_t *ret_before)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGQUIT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, ret_before);
    return signalfd(-1, &ends, SFD_CLOEXEC);
}

/* False: one of those signals has come, or nothing more will. */
static bool read_byte(int fd, int signals, char *ret_byte)
{
    struct pollfd both[] = {{.fd = signals, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    while (poll(both, 2, -1) < 0)
        if (errno != EINTR) return false;
    return both[0].revents == 0 && read(fd, ret_byte, 1) == 1;
}

/* Reads a line that is not shown. */
static bool read_line(int fd, const char *what, char *ret_text, size_t size)
{
    struct termios shown, hidden;
    sigset_t before;
    size_t used = 0;
    char c = 0;

    if (tcgetattr(fd, &shown) != 0) return false;
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    int signals = hold_signals(&before);
    tcsetattr(fd, TCSAFLUSH, &hidden);
    dprintf(fd, "%s: ", what);
    while (used + 1 < size && read_byte(fd, signals, &c) && c != '\n')
        ret_text[used++] = c;
    ret_text[used] = 0;
    tcsetattr(fd, TCSAFLUSH, &shown);
    dprintf(fd, "\n");
    if (signals >= 0) close(signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return c == '\n';
}

enum status backup_secret_ask(const char *what, bool twice, struct backup_secret *ret_secret,
                              struct error *error)
{
    char text[SECRET_SIZE_MAX], again[SECRET_SIZE_MAX];
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    enum status status = STATUS_OK;

    if (fd < 0)
        return error_set(error, STATUS_INVALID,
                         "%s is encrypted, and there is no terminal to ask for the passphrase: "
                         "give --passphrase-file or " SECRET_VARIABLE,
                         what);
    bool read = read_line(fd, "passphrase", text, sizeof(text)) &&
                (!twice || read_line(fd, "again", again, sizeof(again)));
    close(fd);
    if (!read)
        status = error_set(error, STATUS_INVALID, "no passphrase was given");
    else if (twice && strcmp(text, again) != 0)
        status = error_set(error, STATUS_INVALID, "the two passphrases differ");
    if (status == STATUS_OK) status = take(ret_secret, text, strlen(text), "terminal", error);
    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(again, sizeof(again));
    return status;
}
