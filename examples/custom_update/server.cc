// A server binary with a rule of one's own: all of the program `shoal`, and the rule "lion".

#include "examples/custom_update/lion.h"
#include "server/program.h"

int main(int argc, char** argv) {
  return shoal::run_program(argc, argv, shoal::RuleSet::builtin().add<Lion>());
}
