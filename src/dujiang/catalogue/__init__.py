"""目录: products with immutable versions, and the search that finds them."""
