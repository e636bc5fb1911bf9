/* page.h - web/index.html, made a part of the program by scripts/embed. */
#ifndef HOLON_SERVICES_ADMIN_PAGE_H
#define HOLON_SERVICES_ADMIN_PAGE_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t admin_page_html[];
extern const size_t admin_page_html_size;

#endif
