"""Tests of nixoci: pure logic here, real programs in :mod:`tests.host`."""
