#pragma once

namespace engram {

// Lets the C library keep freed memory for the next allocation instead of handing it back to the kernel: a step frees
// and allocates the same large tensors over and over, and the kernel would clear their pages anew each time (10 % of a
// training step, measured). The peak stays what it is. To be called once, before threads start.
void KeepFreedMemory();

}  // namespace engram
