# SPDX-License-Identifier: Apache-2.0
"""From a staged folder to a repository on the Hub: plan, one commit, tag, pull request, collection."""
