# SPDX-License-Identifier: Apache-2.0
"""The demo Space: a Gradio app, and its staging."""
