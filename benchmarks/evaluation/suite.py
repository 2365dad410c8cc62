"""The statements that tests of the suite show; one of its tests looks for them by their names."""

from __future__ import annotations

from benchmarks.evaluation.statements import Limit, Outcome

_STORE = "tests/host/test_image_store.py::"
_DOCKER = "tests/host/test_docker.py::"
_MOBY = "tests/host/test_docker_containerd_store.py::"
_CTR = "tests/host/test_containerd.py::"
_CRIO = "tests/host/test_crio.py::"
_ROOTLESS = "tests/host/test_rootless.py::"
_SYSTEMD = "tests/host/test_systemd_backend.py::"
_GC = "tests/host/test_gc_roots.py::"

LIMITS = (
    Limit(
        about="podman",
        says="the image has a new id; the registry's digest still finds it",
        outcome=Outcome.DIFFERENT,
        test=f"{_STORE}test_an_image_runs_by_name_by_id_and_by_the_registrys_digest",
    ),
    Limit(
        about="podman",
        says="a saved image is the same elsewhere",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_a_saved_image_is_the_same_elsewhere",
    ),
    Limit(
        about="podman",
        says="every file of a container equals that of an ordinary image: owner, mode, xattrs, time, links, content",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_a_container_holds_what_one_of_the_ordinary_image_holds",
    ),
    Limit(
        about="podman",
        says="a container starts again after its image store has gone to a later one with the same image",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_a_container_outlives_its_store",
    ),
    Limit(
        about="podman without EROFS files",
        says="all files belong to one user, without setuid bits and capabilities",
        outcome=Outcome.DIFFERENT,
        test=f"{_STORE}test_a_rootless_user_runs_from_a_store_without_erofs_files",
    ),
    Limit(
        about="images of suid programs and capabilities",
        says="take effect, also where /nix/store is mounted nosuid",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_owners_modes_and_capabilities_take_effect",
    ),
    Limit(
        about="images of a database",
        says="postgres writes to a volume that the image filled, with its owner",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_postgres_serves_from_its_volume_and_again_from_the_same",
    ),
    Limit(
        about="podman without a Nix store",
        says="a self-contained store runs on machines without Nix",
        outcome=Outcome.SAME,
        test=f"{_STORE}test_a_self_contained_store_runs_where_there_is_no_nix_store",
    ),
    Limit(
        about="rootless podman",
        says="every file is that of the original image, in a store of its own kind",
        outcome=Outcome.SAME,
        test=f"{_ROOTLESS}test_every_file_is_that_of_the_original_image_as_root_has_it",
    ),
    Limit(
        about="rootless podman",
        says="odd names, modes and xattrs arrive",
        outcome=Outcome.SAME,
        test=f"{_ROOTLESS}test_odd_names_modes_and_xattrs",
    ),
    Limit(
        about="rootless podman",
        says="an owner for which the user has no subordinate id is an error that names it",
        outcome=Outcome.FAILS,
        test=f"{_ROOTLESS}test_an_owner_that_the_user_has_no_id_for_is_named",
    ),
    Limit(
        about="Docker, overlay2",
        says="runs images in place, by name, id and the registry's digest",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_images_run_in_place_by_name_id_and_the_registrys_digest",
    ),
    Limit(
        about="Docker, overlay2",
        says="registers images only while dockerd is stopped, because it reads them when it starts",
        outcome=Outcome.DIFFERENT,
        test=f"{_DOCKER}test_changes_need_a_stopped_dockerd",
    ),
    Limit(
        about="Docker, overlay2",
        says="restart policies decide which containers run after a restart of dockerd and after a reboot",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_restart_policies_decide_over_a_restart_and_a_boot",
    ),
    Limit(
        about="Docker, overlay2",
        says="a container runs on over a switch to a store without its image, and back",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_a_container_outlives_a_switch_a_rollback_a_restart_and_a_boot",
    ),
    Limit(
        about="docker image inspect, history",
        says="tell what they tell of the loaded image, but give all files to one layer",
        outcome=Outcome.DIFFERENT,
        test=f"{_DOCKER}test_a_container_holds_what_one_of_the_loaded_image_holds",
    ),
    Limit(
        about="docker save",
        says="writes the contents of all files",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_an_image_is_saved_pushed_and_pulled",
    ),
    Limit(
        about="docker push",
        says="writes the image elsewhere, as one layer with another digest",
        outcome=Outcome.DIFFERENT,
        test=f"{_DOCKER}test_an_image_is_saved_pushed_and_pulled",
    ),
    Limit(
        about="docker build",
        says="builds upon the image",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_an_image_is_built_upon",
    ),
    Limit(
        about="docker commit, diff",
        says="name what a container changed, and make an image of it",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_nginx_serves_and_its_container_is_written_compared_and_committed",
    ),
    Limit(
        about="docker rmi",
        says="removes a name, which comes back with the next registration",
        outcome=Outcome.DIFFERENT,
        test=f"{_DOCKER}test_what_docker_removes_comes_back",
    ),
    Limit(
        about="docker compose",
        says="starts services of registered images",
        outcome=Outcome.SAME,
        test=f"{_DOCKER}test_compose_starts_registered_images",
    ),
    Limit(
        about="Docker, other storage drivers",
        says="are refused by name",
        outcome=Outcome.FAILS,
        test=f"{_DOCKER}test_other_ways_of_docker_are_refused_by_name",
    ),
    Limit(
        about="Docker, an image that is not mounted",
        says="a container does not start, and its error names the folder",
        outcome=Outcome.FAILS,
        test=f"{_DOCKER}test_a_container_of_an_image_that_is_not_mounted_does_not_start",
    ),
    Limit(
        about="Docker's containerd store, docker save",
        says="leaves the layer out and says nothing; sizes lack it too",
        outcome=Outcome.FAILS,
        test=f"{_MOBY}test_save_and_sizes_leave_the_layer_out",
    ),
    Limit(
        about="Docker's containerd store, docker push",
        says="leaves the layer out and says nothing",
        outcome=Outcome.FAILS,
        test=f"{_MOBY}test_push_leaves_the_layer_out",
    ),
    Limit(
        about="Docker's containerd store, docker build",
        says="fails from an image that was registered with the registry's digest",
        outcome=Outcome.FAILS,
        test=f"{_MOBY}test_each_shape_has_a_limit",
    ),
    Limit(
        about="Docker's containerd store",
        says="containers restart with the daemon and after a reboot",
        outcome=Outcome.SAME,
        test=f"{_MOBY}test_restart_policies_over_a_daemon_s_restart_and_a_reboot",
    ),
    Limit(about="ctr", says="runs images in place", outcome=Outcome.SAME, test=f"{_CTR}test_ctr_runs_images_in_place"),
    Limit(
        about="Kubernetes' CRI over containerd",
        says="pods run images in place, beside pulled ones",
        outcome=Outcome.SAME,
        test=f"{_CTR}test_pods_run_images_in_place",
    ),
    Limit(
        about="Kubernetes' removal of images",
        says="an image that it removed comes back with the next registration",
        outcome=Outcome.DIFFERENT,
        test=f"{_CTR}test_an_image_that_kubernetes_removed_comes_back",
    ),
    Limit(
        about="CRI-O",
        says="a pod runs the image in place; run where CRI-O is given",
        outcome=Outcome.SAME,
        test=f"{_CRIO}test_a_pod_of_cri_o_runs_the_image_in_place",
    ),
    Limit(
        about="containerd 2.4",
        says="pulls without a layer, from a cache of layers; run where it is given",
        outcome=Outcome.SAME,
        test="tests/host/test_layer_cache.py::test_containerd_pulls_without_a_layer",
    ),
    Limit(
        about="systemd-nspawn",
        says="runs a mount stack of an image",
        outcome=Outcome.SAME,
        test=f"{_SYSTEMD}test_nspawn_runs_an_image_from_a_mount_stack",
    ),
    Limit(
        about="systemd alone",
        says="runs the services of the sample images without a runtime",
        outcome=Outcome.SAME,
        test=f"{_SYSTEMD}test_services_of_the_sample_images_work",
    ),
    Limit(
        about="systemd alone, a root that is not mounted",
        says="the container does not start",
        outcome=Outcome.FAILS,
        test=f"{_SYSTEMD}test_without_its_root_mounted_a_container_does_not_start",
    ),
    Limit(
        about="all engines of a host",
        says="show the tree of an ordinary pull, and store no image themselves",
        outcome=Outcome.SAME,
        test="tests/host/test_engines.py::test_every_engine_shows_the_tree_of_an_ordinary_pull",
    ),
    Limit(
        about="containers that write",
        says="no container changes the store, whatever it writes and however it ends",
        outcome=Outcome.SAME,
        test="tests/host/test_store_safety.py::test_a_container_that_writes_all_it_can_and_is_killed_leaves_the_store_alone",
    ),
    Limit(
        about="nix-collect-garbage",
        says="keeps the image of a container that runs, by a root that the container holds",
        outcome=Outcome.SAME,
        test=f"{_GC}test_what_still_runs_keeps_its_image_and_what_is_gone_loses_it",
    ),
    Limit(
        about="nix-collect-garbage after a power cut",
        says="roots of units that did not stop stay for one more run",
        outcome=Outcome.DIFFERENT,
        test=f"{_GC}test_what_a_power_cut_leaves_of_a_unit_stays_for_one_run",
    ),
    Limit(
        about="images with odd entries",
        says="podman makes the same tree of them: devices, fifos, empty names, times, links",
        outcome=Outcome.SAME,
        test="tests/host/test_odd_images.py::test_podman_makes_the_same_tree_of_an_odd_image",
    ),
    Limit(
        about="random stacks of layers",
        says="give the tree that umoci gives",
        outcome=Outcome.SAME,
        test="tests/host/test_umoci.py::test_every_stack_gives_the_tree_that_umoci_gives",
    ),
    Limit(
        about="symlinks of an image",
        says="a volume behind one is made inside of the image, not on the host",
        outcome=Outcome.SAME,
        test="tests/host/test_image_symlinks.py::test_a_new_volume_behind_a_symlink_of_the_image_is_filled_from_the_image",
    ),
    Limit(
        about="owners, times, xattrs, links, devices",
        says="composefs reads every field of the metadata that the store cannot hold",
        outcome=Outcome.SAME,
        test="tests/host/test_extraction.py::test_composefs_reads_every_field_of_the_dump",
    ),
    Limit(
        about="a full disk",
        says="extraction ends with one line and leaves nothing",
        outcome=Outcome.FAILS,
        test="tests/host/test_extraction.py::test_a_full_disk_is_one_line_and_leaves_nothing",
    ),
    Limit(
        about="secrets of the host",
        says="a container's secrets are in no file that was made, nor in a log",
        outcome=Outcome.SAME,
        test="tests/host/test_secrets.py::test_nothing_that_was_made_or_logged_holds_one",
    ),
    Limit(
        about="files that are private in the image",
        says="every user of the machine can read them in the store; `show` warns of it",
        outcome=Outcome.DIFFERENT,
        test="tests/cli/test_lock.py::test_show",
    ),
    Limit(
        about="sparse files over 4 GiB",
        says="arrive by a delta",
        outcome=Outcome.SAME,
        test="tests/host/test_delta_large.py::test_a_sparse_file_over_four_gibibytes",
    ),
    Limit(
        about="deltas, a base that is missing",
        says="is named, and nothing is written",
        outcome=Outcome.FAILS,
        test="tests/host/test_delta.py::test_a_missing_base_is_named",
    ),
    Limit(
        about="deltas, killed at any point",
        says="leave a sound store",
        outcome=Outcome.SAME,
        test="tests/host/test_delta.py::test_killed_at_any_point_the_store_is_sound",
    ),
    Limit(
        about="deltas, hostile ones",
        says="are refused with one line and leave nothing",
        outcome=Outcome.FAILS,
        test="tests/host/test_delta_hostile.py::test_each_is_refused_with_one_line_and_leaves_nothing",
    ),
    Limit(
        about="a delta that fails on its way",
        says="becomes a download of the ordinary NAR",
        outcome=Outcome.DIFFERENT,
        test="tests/host/test_substituter.py::test_a_delta_that_fails_is_the_ordinary_nar",
    ),
    Limit(
        about="a boot without a network",
        says="pulls and loads nothing",
        outcome=Outcome.SAME,
        test="tests/host/test_switch.py::test_a_boot_without_a_network_pulls_and_loads_nothing",
    ),
    Limit(
        about="virtualisation.oci-containers",
        says="runs images of the store",
        outcome=Outcome.SAME,
        test="tests/host/test_peers.py::test_oci_containers_runs_them",
    ),
    Limit(
        about="quadlet-nix",
        says="runs images of the store",
        outcome=Outcome.SAME,
        test="tests/host/test_peers.py::test_quadlet_nix_runs_them",
    ),
    Limit(
        about="kernels before 6.12, for users before 6.18",
        says="do not mount the images' metadata; `doctor` names them, as it does old versions of podman and Nix",
        outcome=Outcome.FAILS,
        test="tests/doctor/test_examine.py::test_a_broken_machine",
    ),
    Limit(
        about="old kernels, podman 4",
        says="are enough for a store without EROFS files",
        outcome=Outcome.DIFFERENT,
        test="tests/doctor/test_examine.py::test_an_old_podman_and_kernel_are_enough_for_a_store_without_erofs_files",
    ),
    Limit(
        about="sparse files, as GNU tar writes them in each of its formats",
        says="are read with the right zeros",
        outcome=Outcome.SAME,
        test="tests/tree/test_sparse.py::test_what_gnu_tar_writes_is_read_with_the_right_zeros",
    ),
    Limit(
        about="devices and fifos of an image",
        says="are not in the tree of the store, only in its metadata",
        outcome=Outcome.DIFFERENT,
        test="tests/tree/test_write.py::test_devices_and_fifos_and_their_hardlinks_are_left_out",
    ),
    Limit(
        about="more hard links to a file than a file system allows",
        says="become copies",
        outcome=Outcome.DIFFERENT,
        test="tests/tree/test_write.py::test_a_file_with_more_names_than_the_file_system_allows_is_copied",
    ),
    Limit(
        about="rootless podman, suid programs and capabilities",
        says="take effect",
        outcome=Outcome.SAME,
        test=f"{_ROOTLESS}test_suid_programs_and_file_capabilities_work",
    ),
    Limit(
        about="rootless podman, a user namespace of a container's own",
        says="has the owners of the image",
        outcome=Outcome.SAME,
        test=f"{_ROOTLESS}test_a_user_namespace_of_a_containers_own",
    ),
)
