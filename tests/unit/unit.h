/* unit.h - what every unit test includes: cmocka with the headers it wants first. */
#ifndef HOLON_TESTS_UNIT_H
#define HOLON_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
