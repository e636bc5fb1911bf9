/* sim_feature.h - which feature of the product was at work when a fault hit: the table
 * fault x feature of FAULTS.md section 4.
 *
 * A cell counts when a fault and a feature are seen within SIM_FEATURE_WINDOW_US of each other,
 * whichever came first: most faults last, and a mechanism shows only when it is through. An empty
 * cell means that the pair was never tried. Thread: one. */
#ifndef HOLON_SIM_SIM_FEATURE_H
#define HOLON_SIM_SIM_FEATURE_H

#include "sim/sim.h"

enum { SIM_FEATURE_WINDOW_US = 500 * 1000 };

const char *sim_feature_text(enum sim_feature feature);
/* The feature was seen at work, now. */
void sim_feature_seen(struct sim *sim, enum sim_feature feature);
/* Same, by a SOMETIMES tag; most tags show no feature. */
void sim_feature_tag(struct sim *sim, const char *tag);
/* A fault has hit, now. */
void sim_feature_fault(struct sim *sim, enum sim_fault fault);

/* NULL: the cell must not stay empty. */
const char *sim_feature_impossible(enum sim_fault fault, enum sim_feature feature);
void sim_features_add(struct sim_features *to, const struct sim_features *from);
/* Adds what a file has to *features, or writes them there: the table of a soak adds up over its
 * rounds. One line per cell: count, fault, feature, by tabs. A missing file is an empty one. */
bool sim_features_load(struct sim_features *features, const char *path);
bool sim_features_save(const struct sim_features *features, const char *path);
/* As Markdown. */
void sim_features_print(const struct sim_features *features, FILE *file);
/* Prints each empty cell without a reason; returns how many. */
uint32_t sim_features_empty(const struct sim_features *features, FILE *file);

#endif
