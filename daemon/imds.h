/* imds.h - what an EC2 instance knows of itself, from the instance metadata service (version 2).
 *
 * imds_load asks for a token, and with it for the instance's id and its availability zone. It is
 * blocking, at start and at a reload only, and only when a template names @ec2.*: on an instance
 * the answers take milliseconds; elsewhere the first request fails within IMDS_TIMEOUT_MS, and no
 * other is made. Proxies are not used: the address is the machine's own.
 *
 * Environment: AWS_EC2_METADATA_DISABLED=true, and nothing is asked; the address is
 * AWS_EC2_METADATA_SERVICE_ENDPOINT, else the one of AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE (IPv4
 * or IPv6).
 *
 * On failure the struct is left as it was, and err says why. What was answered is held to be
 * hostile: a value is short and of letters, digits and -, or it is a failure.
 */
#ifndef DAEMON_IMDS_H
#define DAEMON_IMDS_H

#include "lib/err.h"

#define IMDS_TIMEOUT_MS 1000
#define IMDS_VALUE_MAX  64

struct imds {
    char instance_id[IMDS_VALUE_MAX], availability_zone[IMDS_VALUE_MAX]; /* "": not known */
};

int imds_load(struct imds *m, struct err *e);

#endif
