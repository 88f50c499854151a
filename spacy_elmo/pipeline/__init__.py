"""The `elmo` component and its annotations on a Doc."""
