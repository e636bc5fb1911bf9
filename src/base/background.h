/* background.h - threads whose work is never waited for by a request: flushes, compactions.
 *
 * They have a smaller share of a processor that others want too, and of what they have they give
 * way as soon as another thread wakes up, rather than when their time slice is over: a request goes
 * over six to eight wake-ups, and each of them would wait for that. They still get their share: a
 * flush that never gets on would end as memory that is full. */
#ifndef HOLON_BASE_BACKGROUND_H
#define HOLON_BASE_BACKGROUND_H

/* Of the calling thread, and of those that it starts from then on. What the kernel does not know or
 * allow is left as it is. */
void background_begin(void);

#endif
