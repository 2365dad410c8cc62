# What units of a user need besides: rootless podman runs newuidmap, and the mount program of its image store others.
{
  Service.Environment = [ "PATH=/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin" ];
}
