// Built as lion.so: `shoal server --plugin lion.so` knows the rule "lion".

#include "core/ops/plugin.h"

#include "examples/custom_update/lion.h"

SHOAL_PLUGIN(rules) { rules.add<Lion>(); }
