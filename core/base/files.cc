#include "core/base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/descriptors.h"
#include "core/base/lack.h"
#include "core/base/streams.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

absl::Status FromCode(const std::error_code& code, std::string_view what) {
  return code ? StatusOfErrno(code.value(), what) : absl::OkStatus();
}

// Closes on scope exit; Release gives the descriptor away.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  int get() const { return value_; }
  int Release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

absl::Status WriteAll(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (written < 0) {
      if (errno == EINTR) continue;
      return StatusOfErrno(errno, "writing a file");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

std::string Parent(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status WriteAndSync(const std::string& path, const ByteSource& source) {
  Descriptor file(OpenWithReserve([&] { return open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); }));
  if (file.get() < 0) return StatusOfErrno(errno, "creating a file");
  ENGRAM_RETURN_IF_ERROR(source([&](std::string_view piece) { return WriteAll(file.get(), piece); }));
  if (fsync(file.get()) != 0) return StatusOfErrno(errno, "syncing a file");
  if (close(file.Release()) != 0) return StatusOfErrno(errno, "closing a file");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  Descriptor file(OpenWithReserve([&] { return open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (file.get() < 0) return StatusOfErrno(errno, "opening a file");
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return StatusOfErrno(errno, "reading a file's size");
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a regular file");
  if (static_cast<uint64_t>(info.st_size) > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the file has ", info.st_size, " bytes; at most ", max_bytes, " are read"));
  }
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return StatusOfErrno(errno, "reading a file");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

absl::Status WriteStreamAtomic(const std::string& path, const ByteSource& source) {
  static std::atomic<uint64_t> counter{0};
  const std::string temporary = absl::StrCat(path, ".tmp-", getpid(), "-", counter.fetch_add(1));
  absl::Status status = WriteAndSync(temporary, source);
  if (status.ok()) status = RenameDurably(temporary, path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::Status WritePartsAtomic(const std::string& path, std::span<const std::string_view> parts) {
  return WriteStreamAtomic(path, [parts](const ByteSink& sink) {
    for (const std::string_view part : parts) ENGRAM_RETURN_IF_ERROR(sink(part));
    return absl::OkStatus();
  });
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes) {
  return WritePartsAtomic(path, {&bytes, 1});
}

absl::Status SyncDirectory(const std::string& path) {
  Descriptor directory(OpenWithReserve([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (directory.get() < 0) return StatusOfErrno(errno, "opening a directory");
  if (fsync(directory.get()) != 0) return StatusOfErrno(errno, "syncing a directory");
  return absl::OkStatus();
}

absl::Status SyncTree(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path));
  for (const std::string& name : names) {
    const std::string child = absl::StrCat(path, "/", name);
    std::error_code code;
    if (fs::is_directory(child, code)) {
      ENGRAM_RETURN_IF_ERROR(SyncTree(child));
      continue;
    }
    Descriptor file(OpenWithReserve([&] { return open(child.c_str(), O_RDONLY | O_CLOEXEC); }));
    if (file.get() < 0) return StatusOfErrno(errno, "opening a file");
    if (fsync(file.get()) != 0) return StatusOfErrno(errno, "syncing a file");
  }
  return SyncDirectory(path);
}

absl::Status RenameDurably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return StatusOfErrno(errno, "renaming");
  return SyncDirectory(Parent(to));
}

absl::Status MakeDirectories(const std::string& path) {
  // From the top, each new one synced into its parent: after power loss a file that was synced is of no use in a
  // directory that is not there.
  fs::path made;
  for (const fs::path& part : fs::path(path)) {
    made /= part;
    if (mkdir(made.c_str(), 0777) == 0) {
      ENGRAM_RETURN_IF_ERROR(SyncDirectory(Parent(made.string())));
      continue;
    }
    std::error_code code;
    const int error = errno;
    if (!fs::is_directory(made, code)) return StatusOfErrno(error, "creating a directory");
  }
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  return FromCode(code, "removing a directory");
}

absl::Status CopyFile(const std::string& from, const std::string& to) {
  std::error_code code;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, code);
  return FromCode(code, "copying a file");
}

bool PathExists(const std::string& path) {
  std::error_code code;
  return fs::exists(path, code);
}

absl::StatusOr<int64_t> FileBytes(const std::string& path) {
  std::error_code code;
  const std::uintmax_t bytes = fs::file_size(path, code);
  if (code) return FromCode(code, "reading a file's size");
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  Descriptor opened(OpenWithReserve([&] { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  DIR* const directory = opened.get() < 0 ? nullptr : fdopendir(opened.get());
  if (directory == nullptr) return StatusOfErrno(errno, "listing a directory");
  opened.Release();
  const absl::Cleanup close = [&] { closedir(directory); };
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* const entry = readdir(directory);
    if (entry == nullptr && errno != 0) return StatusOfErrno(errno, "listing a directory");
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  Descriptor file(OpenWithReserve([&] { return open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (file.get() < 0) return StatusOfErrno(errno, "opening a file");
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return StatusOfErrno(errno, "reading a file's size");
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("not a regular file");
  if (info.st_size == 0) return MappedFile(nullptr, 0);
  void* data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) return StatusOfErrno(errno, "mapping a file");
  return MappedFile(static_cast<const std::byte*>(data), static_cast<size_t>(info.st_size));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::Release(std::span<const std::byte> part) const {
  // Whole pages inside the part alone: its first and last page may hold bytes of others.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(part.data()), end = first + part.size();
  const uintptr_t begin = (first + page - 1) / page * page, stop = end / page * page;
  // Only advice: the mapping is read-only and stays valid whatever the answer.
  if (begin < stop) madvise(reinterpret_cast<void*>(begin), stop - begin, MADV_DONTNEED);
}

absl::StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  Descriptor file(OpenWithReserve([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644); }));
  if (file.get() < 0) return StatusOfErrno(errno, "opening the lock file");
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return StatusWithReason(absl::StatusCode::kFailedPrecondition, "ALREADY_LOCKED",
                              "another process holds the lock");
    }
    return StatusOfErrno(errno, "locking a file");
  }
  return FileLock(file.Release());
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_sha256(), nullptr); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  ~Sha256() { EVP_MD_CTX_free(context_); }
  void Update(const void* data, size_t size) { EVP_DigestUpdate(context_, data, size); }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_, digest, &size);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i) absl::StrAppend(&hex, absl::Hex(digest[i], absl::kZeroPad2));
    return hex;
  }

 private:
  EVP_MD_CTX* context_;
};

}  // namespace

std::string Sha256Hex(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes.data(), bytes.size());
  return hash.Hex();
}

absl::StatusOr<StreamDigest> DigestStream(const ByteSource& source) {
  Sha256 hash;
  StreamDigest digest;
  ENGRAM_RETURN_IF_ERROR(source([&](std::string_view piece) {
    hash.Update(piece.data(), piece.size());
    digest.bytes += static_cast<int64_t>(piece.size());
    return absl::OkStatus();
  }));
  digest.sha256 = hash.Hex();
  return digest;
}

absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  Sha256 hash;
  hash.Update(file.bytes().data(), file.bytes().size());
  return hash.Hex();
}

absl::StatusOr<std::string> MaybeGunzip(std::string bytes, size_t max_bytes) {
  if (bytes.size() < 2 || bytes[0] != '\x1f' || bytes[1] != '\x8b') {
    if (bytes.size() > max_bytes) return absl::ResourceExhaustedError(absl::StrCat("more than ", max_bytes, " bytes"));
    return bytes;
  }
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return absl::InternalError("zlib could not start");
  const absl::Cleanup end = [&] { inflateEnd(&stream); };
  stream.next_in = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  std::vector<char> chunk(size_t{1} << 18);
  while (true) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    const int code = inflate(&stream, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END)
      return absl::InvalidArgumentError("the gzip content is damaged or cut off");
    out.append(chunk.data(), chunk.size() - stream.avail_out);
    if (out.size() > max_bytes)
      return absl::ResourceExhaustedError(absl::StrCat("inflates to more than ", max_bytes, " bytes"));
    if (code != Z_STREAM_END) continue;
    if (stream.avail_in == 0) return out;
    if (inflateReset(&stream) != Z_OK)
      return absl::InternalError("zlib could not go on");  // several members in one file
  }
}

}  // namespace engram
