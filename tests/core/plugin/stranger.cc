// A shared object that is no plugin, for tests/core/plugin_test.cc.

extern "C" __attribute__((visibility("default"))) int some_function();
int some_function() { return 0; }
