"""nixoci's tests: pure logic beside this file, the real thing in :mod:`tests.host`."""
