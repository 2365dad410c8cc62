"""The statements that the part `limits` tries on its machine, by commands whose exit code tells if they are true.

The machine has one image in its store, and programs and files as limits.py puts them there.
"""

from __future__ import annotations

from benchmarks.evaluation.statements import Outcome, Probe

RUN = "podman run --rm --network=none"

TOOL_PROBES = (
    Probe(about="podman run", says="runs the image", outcome=Outcome.SAME, command=f"{RUN} IMAGE true"),
    Probe(
        about="podman's mount of a container",
        says="is one overlay, of the metadata, the store and the container's layer",
        outcome=Outcome.SAME,
        command=f"{RUN} IMAGE head --lines=1 /proc/self/mountinfo | grep '/1::FILES/rootfs,upperdir='",
    ),
    Probe(
        about="podman run --read-only",
        says="runs it without a writable layer",
        outcome=Outcome.SAME,
        command=f"{RUN} --read-only IMAGE true",
    ),
    Probe(
        about="podman volumes",
        says="a new volume gets the image's files with their owners and modes",
        outcome=Outcome.SAME,
        command=f'test "$({RUN} --volume=filled:/etc IMAGE stat --format=%a:%G /etc/shadow)" = 640:shadow',
    ),
    Probe(
        about="podman cp, export",
        says="copy files out of a container",
        outcome=Outcome.SAME,
        command="podman create --name=copied --network=none IMAGE true && podman cp copied:/etc/passwd /tmp/passwd"
        " && podman export copied | tar --list | grep --line-regexp etc/passwd",
    ),
    Probe(
        about="podman mount",
        says="mounts a container's root file system",
        outcome=Outcome.SAME,
        command='podman create --name=mounted --network=none IMAGE && test -e "$(podman mount mounted)/etc/passwd"',
    ),
    Probe(
        about="podman diff",
        says="names what a container changed, while it runs and after",
        outcome=Outcome.SAME,
        command="podman run --detach --name=written --network=none IMAGE sh -c 'echo x > /x; sleep 60' && sleep 1"
        " && podman diff written | grep --line-regexp 'A /x' && podman kill written && podman wait written"
        " && test $(podman diff written | wc --lines) -lt 20",
    ),
    Probe(
        about="podman volume create --driver=image",
        says="makes a volume of the image's files",
        outcome=Outcome.SAME,
        command="podman volume create --driver=image --opt=image=IMAGE volume"
        f" && {RUN} --volume=volume:/x IMAGE test -e /x/etc/passwd",
    ),
    Probe(
        about="podman image mount",
        says="`layer not known`: a read-only store has nothing to mount in",
        outcome=Outcome.FAILS,
        command="(podman image mount IMAGE 2>&1 || true) | grep 'layer not known'",
    ),
    Probe(
        about="podman run --mount type=image",
        says="`layer not known`, as above",
        outcome=Outcome.FAILS,
        command=f"({RUN} --mount=type=image,source=IMAGE,destination=/x IMAGE true 2>&1 || true)"
        " | grep 'layer not known'",
    ),
    Probe(
        about="podman save",
        says="writes an archive with the contents of all files",
        outcome=Outcome.SAME,
        command="test $(podman save IMAGE | wc --bytes) -gt 100000000",
    ),
    Probe(
        about="podman push",
        says="writes the image elsewhere, as one layer",
        outcome=Outcome.DIFFERENT,
        command="podman push --quiet IMAGE oci:/tmp/pushed:1 && test $(skopeo inspect --format='{{len .Layers}}'"
        " oci:/tmp/pushed:1) = 1",
    ),
    Probe(
        about="skopeo inspect, copy",
        says="read the image from containers-storage",
        outcome=Outcome.SAME,
        command="skopeo inspect containers-storage:IMAGE && skopeo copy --quiet containers-storage:IMAGE"
        " oci:/tmp/copied:1",
    ),
    Probe(
        about="buildah from, build",
        says="build upon the image",
        outcome=Outcome.SAME,
        command="mkdir --parents /tmp/context && printf 'FROM IMAGE\\nRUN echo built > /built\\n' >"
        " /tmp/context/Containerfile"
        f" && buildah build --isolation=chroot --quiet --tag=localhost/built /tmp/context"
        f" && test $({RUN} localhost/built cat /built) = built",
    ),
    Probe(
        about="podman commit",
        says="makes an image of a container",
        outcome=Outcome.SAME,
        command="podman run --name=changed --network=none IMAGE sh -c 'echo x > /x'"
        f" && podman commit --quiet changed localhost/committed && test $({RUN} localhost/committed cat /x) = x",
    ),
    Probe(
        about="podman tag, untag",
        says="give the image further names, in podman's own storage",
        outcome=Outcome.SAME,
        command="podman tag IMAGE localhost/named:1 && podman image exists localhost/named:1"
        " && podman untag localhost/named:1 localhost/named:1",
    ),
    Probe(
        about="podman rmi, system prune --all",
        says="cannot remove the image: it is read-only",
        outcome=Outcome.FAILS,
        command="podman rmi --force IMAGE; podman system prune --all --force; podman image exists IMAGE",
    ),
    Probe(
        about="podman system check, df",
        says="find nothing wrong, and count the image",
        outcome=Outcome.SAME,
        command="podman system check && podman system df",
    ),
    Probe(
        about="podman image tree, history",
        says="show one layer with all files; the history has all entries",
        outcome=Outcome.DIFFERENT,
        command="test $(podman image inspect --format='{{len .RootFS.Layers}}' IMAGE) = 1"
        " && test $(podman history --quiet IMAGE | wc --lines) -gt 1",
    ),
    Probe(
        about="podman kube play",
        says="runs pods with the image",
        outcome=Outcome.SAME,
        command="printf 'apiVersion: v1\\nkind: Pod\\nmetadata: {name: pod}\\nspec:\\n  hostNetwork: true\\n "
        " containers: [{name: c,"
        ' image: IMAGE, imagePullPolicy: Never, command: [sleep, "100"]}]\\n\' > /tmp/pod.yaml'
        " && podman kube play /tmp/pod.yaml && podman kube down --force /tmp/pod.yaml",
    ),
    Probe(
        about="podman image diff",
        says="shows every file as added, because the image is one layer",
        outcome=Outcome.DIFFERENT,
        command="podman image diff IMAGE | grep --line-regexp 'A /etc'",
    ),
    Probe(
        about="podman auto-update",
        says="`no image found`: it looks for the image in podman's own storage alone",
        outcome=Outcome.FAILS,
        command="printf '[Container]\\nImage=IMAGE\\nAutoUpdate=local\\nNetwork=none\\nEntrypoint=sleep\\n"
        "Exec=infinity\\nStopSignal=SIGKILL\\n' > /etc/containers/systemd/updated.container"
        " && systemctl daemon-reload && systemctl start updated && (podman auto-update 2>&1 || true)"
        " | grep 'no image found' && systemctl stop updated && rm /etc/containers/systemd/updated.container",
    ),
    Probe(
        about="podman container checkpoint",
        says="writes the processes of a container to an archive",
        outcome=Outcome.SAME,
        command="podman run --detach --name=paused --network=none IMAGE sleep 1000"
        " && podman container checkpoint --export=/tmp/paused.tar.gz paused"
        " && tar --list --file=/tmp/paused.tar.gz | grep --line-regexp checkpoint/pstree.img",
    ),
    Probe(
        about="syft, by which grype reads images",
        says="finds the same packages in a saved archive and in the store",
        outcome=Outcome.SAME,
        command="podman save --quiet --format=oci-archive --output=/tmp/scanned.tar IMAGE"
        ' && list() { syft --quiet --output=table "$1" | sort; } && list dir:FILES/rootfs > /tmp/listed'
        " && list oci-archive:/tmp/scanned.tar | diff - /tmp/listed && grep '^nginx ' /tmp/listed",
    ),
    Probe(
        about="dive",
        says="shows one layer with all files, in which nothing is wasted",
        outcome=Outcome.DIFFERENT,
        command="dive --ci podman://IMAGE | grep 'efficiency: 100.0000 %'"
        " && dive --json=/tmp/shown.json podman://IMAGE > /dev/null"
        " && test $(grep --count digestId /tmp/shown.json) = 1",
    ),
    Probe(
        about="private files of an image",
        says="every user of the machine reads them in the store, but no user of a container",
        outcome=Outcome.DIFFERENT,
        command=f"! {RUN} --user=65534 IMAGE cat /etc/shadow && runuser --user=alice -- cat FILES/rootfs/etc/shadow",
    ),
    Probe(
        about="podman run --rootfs, of the tree alone",
        says="all files are root's, without setuid bits and capabilities, which programs such as su and ping need",
        outcome=Outcome.DIFFERENT,
        command=f'test "$({RUN} --rootfs FILES/rootfs:O stat --format=%a:%G /etc/shadow /usr/bin/su | xargs)" ='
        f" '444:root 555:root' && test -z \"$({RUN} --rootfs FILES/rootfs:O getcap /bin/ping)\""
        f" && test \"$({RUN} IMAGE stat --format=%a:%G /etc/shadow /usr/bin/su | xargs)\" = '640:shadow 4755:root'",
    ),
)
