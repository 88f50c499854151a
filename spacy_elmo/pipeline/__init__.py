"""The `elmo` component and what it puts on a Doc."""
