"""The `elmo` component and what it stores on a Doc."""
