"""Wrong formulas of core/annotate and core/web."""

GROUPS = [
    ("core/annotate/term_matcher.cc", "test_annotate", [
        ("of overlapping places the shortest stands", "return a->end - a->start > b->end - b->start;", "return a->end - a->start < b->end - b->start;"),
        ("a term in another spelling counts", "if (!terms.as_written.empty()) fitting += Written(terms, text.substr(start, end - start)).size();", "fitting += terms.as_written.size();"),
        ("places that only touch overlap", "next->second < place->end;", "next->second <= place->end;"),
    ]),
    ("core/annotate/byte_automaton.cc", "test_annotate", [
        ("only the longest key of an end is found", "shorter_[order[i]] = states_[state.fallback].ending;", "shorter_[order[i]] = 0;"),
        ("fallbacks go to the root", "state.fallback = state.parent == 0 ? 0 : Next(states_[state.parent].fallback, bytes[i], inside);", "state.fallback = 0;"),
        ("every byte counts as inside of a word", "const bool inside = kWordBytes[reached_by[state.parent]] && kWordBytes[bytes[i]];", "const bool inside = true;"),
    ]),
    ("core/annotate/word_borders.cc", "test_annotate", [
        ("a border may lie before a mark", "return !IsMark(after) && (IsUnspaced(before) || IsUnspaced(after));", "return IsUnspaced(before) || IsUnspaced(after);"),
    ]),
    ("core/annotate/folding.cc", "test_annotate", [
        ("folding keeps every length", "if (now != distance) shifts_.emplace_back(length, distance = now);", "if (false) shifts_.emplace_back(length, distance = now);"),
    ]),
    ("core/web/address_rules.cc", "test_web", [
        ("10.0.0.0/8 is public", '{Ip(10, 0, 0, 0), 8, "private network"},', ""),
        ("a network's last bits are not looked at", "return rest == 0 || ((address[whole] ^ network.network[whole]) >> (8 - rest)) == 0;", "return true;"),
    ]),
    ("core/web/robots.cc", "test_web", [
        ("robots: the first rule that fits decides", "if (length < longest || (length == longest && (allowed || !rule.allow))) continue;", "if (longest > 0) continue;"),
        ("robots: a tie forbids", "(allowed || !rule.allow)", "true"),
    ]),
    ("core/web/fetcher.cc", "test_web", [
        ("fetcher: no pause between two requests", "std::max(options_.host_delay, least_delay)", "absl::ZeroDuration()"),
        ("fetcher: what fails was not fetched", "const int64_t downloaded = response.ok() ? response->downloaded_bytes : failed_bytes;", "const int64_t downloaded = response.ok() ? response->downloaded_bytes : 0 * failed_bytes;"),
        ("fetcher: a host is asked by several at once", "const absl::MutexLock asking(&host.asking);", ""),
        ("fetcher: rules are read by each thread", "const absl::MutexLock reading(&origin.reading); if (origin.robots && ", "const absl::MutexLock reading(&origin.reading); if (false && "),
        ("fetcher: bytes under way do not count", "spent_ += reserved;", "spent_ += 0 * reserved;"),
        ("fetcher: an unreachable robots.txt allows", "return Robots::DisallowAll();  // 2.3.1.4: unreachable", "return Robots::AllowAll();"),
    ]),
    ("core/web/http_client.cc", "test_web", [
        ("fetcher: the address connected to is not looked at", "const absl::Status allowed = transfer.allowed.Check(&address->addr);", "const absl::Status allowed = absl::OkStatus();"),
    ]),
    ("server/worker/page_crawl.cc", "test_worker", [
        ("crawl: one host may be asked at once for several pages", "(hosts_[page].empty() || !busy_.contains(hosts_[page]))", "(hosts_[page].empty() || true)"),
        ("crawl: a page gives its host away before it is written down", "const bool keeps_host = page == next_;", "const bool keeps_host = false;"),
        ("crawl: all pages are fetched ahead", "std::min(hosts_.size(), next_ + kAhead)", "std::min(hosts_.size(), next_ + 1000 * kAhead)"),
        ("crawl: one page at a time", "std::min(kHosts, hosts_.size() - std::min(first, hosts_.size()))", "std::min(kHosts - 3, hosts_.size() - std::min(first, hosts_.size()))"),
    ]),
    ("server/worker/page_journal.cc", "test_worker", [
        ("a page that was cut off stays", "truncate(path_.c_str(), static_cast<off_t>(whole)) == 0", "true"),
        ("equal texts are rows of their own", "if (!page.text().empty() && same != digests_.end()) {", "if (false) {"),
    ]),
    ("server/jobs/collection_service.cc", "test_server", [
        ("a token may point into a line", "(at > 0 && bytes[at - 1] != '\\n')", "false"),
    ]),
]
