#pragma once

// The certificate that the server shows, and the authorities whose clients it takes, as PEM files.

#include <openssl/ssl.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/base/status.h"

namespace engram::server {

struct TlsFiles {
  std::string certificate, key;
  std::string client_ca;  // empty: any client
};

// What the files held when they were last read and were whole. Thread-safe.
class TlsMaterial {
 public:
  // INVALID_ARGUMENT naming the key of the configuration for a file that cannot be read or is no PEM, or a private key that
  // is not the certificate's.
  static absl::StatusOr<std::unique_ptr<TlsMaterial>> Load(TlsFiles files);
  const TlsFiles& files() const { return files_; }

  // Gives a connection that is being opened what the files hold now; files that were changed and are not whole are as
  // before. False where OpenSSL refuses.
  bool Apply(SSL* connection) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Free {
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509_STORE* store) const { X509_STORE_free(store); }
  };
  struct Contents {
    std::unique_ptr<X509, Free> certificate;
    std::unique_ptr<STACK_OF(X509), Free> chain;
    std::unique_ptr<EVP_PKEY, Free> key;
    std::unique_ptr<X509_STORE, Free> authorities;  // none: any client
  };
  using Times = std::array<std::filesystem::file_time_type, 3>;  // when each file was last changed

  explicit TlsMaterial(TlsFiles files) : files_(std::move(files)) {}
  static absl::StatusOr<Contents> Read(const TlsFiles& files);
  Times ChangeTimes() const;

  const TlsFiles files_;
  absl::Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
  Times times_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
