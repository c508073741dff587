#pragma once

#include "core/checkpoint/families/family.h"

namespace engram::checkpoint {

// What RoBERTa has and families that were made from it: heads, positions behind the padding token's, and that token.
// `head_dropout`: which dropout of config.json the heads' is.
FamilySpec RobertaLike(DropoutSource head_dropout);

}  // namespace engram::checkpoint
