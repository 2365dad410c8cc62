# storage.conf for a rootless user: podman reads the user's own file and no other, so this is all of it.
store: ''
  [storage]
  driver = "overlay"

  [storage.options]
  additionalimagestores = ["${store}"]

  [storage.options.overlay]
  mount_program = "${store}/mount-program"
''
