#pragma once
/* Annotations: subcommands that have a file of their own. */
#include "clients/ctl/ctl.h"

int ctl_annotations_show(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv);
int ctl_annotations_grid(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv);
int ctl_annotations_given_up(struct ctl *ctl, const struct ctl_command *command, int argc, char **argv);
