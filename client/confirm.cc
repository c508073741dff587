#include "client/confirm.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "client/session.h"

namespace engram::client {

bool Confirm(const std::string& question, bool yes) {
  if (yes) return true;
  if (isatty(STDIN_FILENO) == 0) {
    Session::Usage(question + " Nobody can be asked here, so nothing was deleted; --yes deletes it");
    return false;
  }
  std::fprintf(stderr, "%s Go on? [y/N] ", question.c_str());
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return true;
  std::fprintf(stderr, "nothing was deleted\n");
  return false;
}

}  // namespace engram::client
