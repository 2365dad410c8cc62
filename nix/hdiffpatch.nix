# HDiffPatch for Python, which nixpkgs lacks; `nixoci send` makes patches with it.
{
  buildPythonPackage,
  fetchPypi,
  attrs,
  cython,
  setuptools,
  setuptools-scm,
  lib,
}:
buildPythonPackage rec {
  pname = "hdiffpatch";
  version = "2.6.0";
  pyproject = true;

  src = fetchPypi {
    inherit pname version;
    hash = "sha256-nw0F7heEqCI99MqAbEfE/A3CBIqr0k6GlHMOVaOapaY=";
  };

  build-system = [
    cython
    setuptools
    setuptools-scm
  ];

  dependencies = [ attrs ];

  pythonImportsCheck = [ "hdiffpatch" ];

  meta = {
    description = "Binary deltas by HDiffPatch";
    license = lib.licenses.asl20;
  };
}
