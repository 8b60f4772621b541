#include "server/program.h"

int main(int argc, char** argv) {
  return shoal::run_program(argc, argv, shoal::RuleSet::builtin());
}
