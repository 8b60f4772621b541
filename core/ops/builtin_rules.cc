// The only place where the built-in functors become kernels: it takes the compiler a while.

#include "core/ops/rule_set.h"
#include "core/ops/rules.h"

namespace shoal {

RuleSet RuleSet::builtin() {
  RuleSet rules;
  rules.add<Assign>().add<Add>().add<Min>().add<Max>();
  rules.add<Sgd>().add<Momentum>().add<Adagrad>().add<Adam>();
  rules.add<Ftrl>().add<Proximal>().add<ProximalDiagonal>();
  return rules;
}

}  // namespace shoal
