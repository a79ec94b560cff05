"""All checks over a whole environment; each gives its findings as sentences, none if all is well."""

from __future__ import annotations

from collections.abc import Callable

from tests.deploy import kafka_checks, reference_checks, workload_checks
from tests.deploy.manifests import Manifests

Check = Callable[[Manifests], list[str]]

CHECKS: tuple[Check, ...] = (
    workload_checks.images_are_of_one_version,
    workload_checks.resources_are_bounded,
    workload_checks.security_is_restricted,
    workload_checks.probes_are_there,
    workload_checks.no_secret_is_in_clear,
    reference_checks.selectors_find_pods,
    reference_checks.each_pod_has_one_owner,
    reference_checks.targets_are_there,
    reference_checks.secrets_are_made_by_somebody,
    reference_checks.ports_are_there,
    reference_checks.everything_is_in_one_namespace,
    reference_checks.every_workload_has_a_way_out,
    kafka_checks.listeners_are_encrypted_and_ask_who_it_is,
    kafka_checks.the_cluster_keeps_what_it_acknowledges,
    kafka_checks.resources_name_their_cluster,
    kafka_checks.topics_fit_the_brokers,
    kafka_checks.topics_keep_what_they_should,
    kafka_checks.users_can_log_in,
    kafka_checks.each_user_has_its_own_password,
    kafka_checks.users_may_do_what_their_role_needs,
    kafka_checks.users_may_do_nothing_else,
)
